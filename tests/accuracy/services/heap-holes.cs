// Most of the old generation died between survivors and was swept in the background, not compacted
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
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
            System.Runtime.GCSettings.LatencyMode = System.Runtime.GCLatencyMode.SustainedLowLatency;
            List<Node> kept = Build(70_000);

            // On a machine that is short of memory the collector may compact after all, and there are no holes.
            for (int attempt = 0; attempt < 5 && !IsSwept(kept); attempt++)
            {
                kept = null;
                kept = Build(70_000);
            }

            new ConsoleHost(() => new Report().Add("kept", kept.Count).Add("gc", Gauge.Heap())).Run();
            GC.KeepAlive(kept);
        }

        /// <summary>A background collection is done, and it left the objects where they are.</summary>
        private static bool IsSwept(List<Node> kept)
        {
            IntPtr place = PlaceOf(kept[kept.Count - 1]);
            int before = GC.CollectionCount(2);
            GC.Collect(2, GCCollectionMode.Forced, blocking: false);
            for (int i = 0; i < 100 && GC.CollectionCount(2) == before; i++)
            {
                Thread.Sleep(50);
            }

            Thread.Sleep(500);
            return PlaceOf(kept[kept.Count - 1]) == place;
        }

        private static IntPtr PlaceOf(Node node)
        {
            GCHandle handle = GCHandle.Alloc(node.Edges, GCHandleType.Pinned);
            IntPtr place = handle.AddrOfPinnedObject();
            handle.Free();
            return place;
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
