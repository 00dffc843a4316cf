// A burst is over and collected; the collector was told to keep the memory
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Burst
{
    internal static class Program
    {
        private static void Main()
        {
            long blocks = Burst();
            GC.Collect();
            GC.Collect();
            new ConsoleHost(() => new Report().Add("blocks", blocks).Add("gc", Gauge.Heap())).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static long Burst()
        {
            var blocks = new List<byte[]>();
            for (int i = 0; i < 90_000; i++)
            {
                blocks.Add(new byte[8_000]);
            }

            return blocks.Count;
        }
    }
}
