// The first finalizer waits for an answer that does not come; the objects behind it hold large graphs
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Leases
{
    internal sealed class Lease
    {
        private static readonly ManualResetEvent Answer = new ManualResetEvent(false);
        private readonly List<byte[]> pages = new List<byte[]>();

        public Lease()
        {
            for (int i = 0; i < 12; i++)
            {
                pages.Add(new byte[2_000]);
            }
        }

        ~Lease()
        {
            Answer.WaitOne();
            pages.Clear();
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            Take(3_500);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("leases", 3_500)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Take(int count)
        {
            for (int i = 0; i < count; i++)
            {
                new Lease();
            }
        }
    }
}
