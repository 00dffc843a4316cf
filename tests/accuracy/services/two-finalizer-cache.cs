// A finalizer that blocks, and a static cache without a bound
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Pair5
{
    internal sealed class Ticket
    {
        private static readonly ManualResetEvent Never = new ManualResetEvent(false);
        private readonly byte[] body = new byte[3_000];

        ~Ticket()
        {
            Never.WaitOne();
            body[0] = 0;
        }
    }

    internal static class Prices
    {
        public static readonly List<decimal[]> All = new List<decimal[]>();
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 60_000; i++)
            {
                Prices.All.Add(new decimal[90]);
            }

            Make(16_000);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("prices", Prices.All.Count)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Make(int count)
        {
            for (int i = 0; i < count; i++)
            {
                new Ticket();
            }
        }
    }
}
