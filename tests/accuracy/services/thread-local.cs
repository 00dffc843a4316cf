// A ThreadLocal scratch buffer of megabytes on every thread of a large pool
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Codec
{
    internal static class Scratch
    {
        public static readonly ThreadLocal<byte[]> Buffer = new ThreadLocal<byte[]>(() => new byte[3_000_000]);
    }

    internal static class Program
    {
        private static void Main()
        {
            var ready = new CountdownEvent(50);
            for (int i = 0; i < 50; i++)
            {
                var thread = new Thread(() =>
                {
                    Scratch.Buffer.Value[0] = 1;
                    ready.Signal();
                    Thread.Sleep(Timeout.Infinite);
                });
                thread.IsBackground = true;
                thread.Start();
            }

            ready.Wait();
            new ConsoleHost(() => new Report().Add("threads", 50)).Run();
        }
    }
}
