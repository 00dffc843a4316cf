// Half of the old generation died between survivors and was swept, not compacted
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
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
            var kept = Build(50_000);
            Gauge.Collect();
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

            Gauge.Collect();
            GC.KeepAlive(all);
            return kept;
        }
    }
}
