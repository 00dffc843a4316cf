// A burst of load is over; what it needed is gone
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Well5
{
    internal static class Program
    {
        private static void Main()
        {
            long served = 0;
            for (int burst = 0; burst < 4; burst++)
            {
                served += Burst();
                GC.Collect();
            }

            new ConsoleHost(() => new Report().Add("served", served).Add("gc", Gauge.Heap())).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static int Burst()
        {
            var requests = new List<byte[]>();
            for (int i = 0; i < 20_000; i++)
            {
                requests.Add(new byte[6_000]);
            }

            return requests.Count;
        }
    }
}
