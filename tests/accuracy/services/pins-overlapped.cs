// Overlapped reads that never complete keep their buffers pinned
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Pipes
{
    internal sealed class Reader
    {
        private readonly byte[] buffer = new byte[4_096];

        public unsafe void Begin()
        {
            var overlapped = new Overlapped();
            overlapped.Pack((code, bytes, native) => { }, buffer);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 6_000; i++)
            {
                new Reader().Begin();
            }

            GC.Collect();
            new ConsoleHost(() => new Report().Add("reads", 6_000)).Run();
        }
    }
}
