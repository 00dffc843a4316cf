// A process that never rests: it allocates, collects, takes and frees handles, and drops objects with finalizers, all at once.
// What it keeps steady is told in its report, so that a reader who looks meanwhile can be held to it.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using Shop.Hosting;

namespace Shop.Rush
{
    internal sealed class Order
    {
        public Order Previous;
        public byte[] Body;
    }

    internal sealed class Receipt
    {
        ~Receipt()
        {
            Interlocked.Increment(ref Program.Finalized);
        }
    }

    internal static class Program
    {
        private const int PinnedAlways = 400;
        private const int PinnedAtMost = 600;
        private const int Allocators = 2;

        public static long Finalized;

        private static readonly List<GCHandle> Held = new List<GCHandle>();
        private static readonly byte[][] Large = new byte[16][];
        private static volatile bool resting;

        private static void Main()
        {
            for (int i = 0; i < PinnedAlways; i++)
            {
                Held.Add(GCHandle.Alloc(new byte[64], GCHandleType.Pinned));
            }

            for (int i = 0; i < Allocators; i++)
            {
                int seed = i;
                Start(() => Allocate(new Random(seed)));
            }

            Start(Collect);
            Start(Pin);
            new ConsoleHost(Describe).On("rest", on => resting = on != 0).Run();
        }

        private static void Start(Action work)
        {
            var thread = new Thread(() =>
            {
                while (true)
                {
                    if (resting)
                    {
                        Thread.Sleep(5);
                    }
                    else
                    {
                        work();
                    }
                }
            });
            thread.IsBackground = true;
            thread.Start();
        }

        /// <summary>A few thousand orders live for a moment, some in short chains; all go at the end.</summary>
        private static void Allocate(Random random)
        {
            var recent = new Order[2048];
            for (int i = 0; i < 4 * recent.Length; i++)
            {
                Order previous = i % 7 == 0 ? recent[random.Next(recent.Length)] : null;
                recent[random.Next(recent.Length)] = new Order { Previous = previous, Body = new byte[random.Next(900)] };
                if (i % 50 == 0)
                {
                    Drop();
                }

                if (i % 400 == 0)
                {
                    Large[random.Next(Large.Length)] = new byte[90_000 + random.Next(200_000)];
                }
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Drop() => GC.KeepAlive(new Receipt());

        private static void Collect()
        {
            for (int generation = 0; generation <= 2; generation++)
            {
                GC.Collect(generation, generation == 1 ? GCCollectionMode.Optimized : GCCollectionMode.Forced, blocking: generation != 2);
                Thread.Sleep(1);
            }
        }

        private static void Pin()
        {
            var taken = new List<GCHandle>();
            for (int i = 0; i < PinnedAtMost - PinnedAlways; i++)
            {
                taken.Add(GCHandle.Alloc(new byte[32], GCHandleType.Pinned));
            }

            foreach (GCHandle handle in taken)
            {
                handle.Free();
            }
        }

        private static Report Describe() => new Report()
            .Add("runtime", Gauge.Runtime())
            .Add("pinned_always", PinnedAlways)
            .Add("pinned_at_most", PinnedAtMost)
            .Add("finalized", Interlocked.Read(ref Finalized));
    }
}
