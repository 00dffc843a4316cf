// Most of the old generation died between survivors and was swept in the background, not compacted
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Graphs
{
    internal sealed class Node
    {
        public long[] Edges = new long[700];
    }

    internal static class Program
    {
        private static void Main()
        {
            List<Node> kept = Build(70_000);
            System.Runtime.GCSettings.LatencyMode = System.Runtime.GCLatencyMode.SustainedLowLatency;
            int before = GC.CollectionCount(2);
            GC.Collect(2, GCCollectionMode.Forced, blocking: false);
            for (int i = 0; i < 100 && GC.CollectionCount(2) == before; i++)
            {
                Thread.Sleep(50);
            }

            Thread.Sleep(500);
            new ConsoleHost(() => new Report().Add("kept", kept.Count).Add("gc", Gauge.Heap())).Run();
            GC.KeepAlive(kept);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static List<Node> Build(int count)
        {
            var all = new List<Node>();
            var kept = new List<Node>();
            for (int i = 0; i < count; i++)
            {
                var node = new Node();
                all.Add(node);
                if (i % 4 == 0)
                {
                    kept.Add(node);
                }
            }

            GC.Collect();
            GC.Collect();
            GC.KeepAlive(all);
            return kept;
        }
    }
}
