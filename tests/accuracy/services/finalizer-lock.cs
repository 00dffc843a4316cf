// A finalizer waits for a lock that the main thread keeps
using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Printers
{
    internal sealed class Spool
    {
        private static readonly object Gate = new object();
        private readonly byte[] page = new byte[2_500];

        ~Spool()
        {
            lock (Gate)
            {
                page[0] = 0;
            }
        }

        public static void Hold() => Monitor.Enter(Gate);
    }

    internal static class Program
    {
        private static void Main()
        {
            Spool.Hold();
            Make(18_000);
            GC.Collect();
            Thread.Sleep(200);
            Make(4_000);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("spools", 22_000)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Make(int count)
        {
            for (int i = 0; i < count; i++)
            {
                new Spool();
            }
        }
    }
}
