// A search node has a thread of its own, with scratch memory of its own, for each of its 48 shards
using System;
using System.Collections.Concurrent;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Trey.Search
{
    internal sealed class Request
    {
        private readonly CountdownEvent pending;
        private long hits;

        public Request(uint term, int shards)
        {
            Term = term;
            pending = new CountdownEvent(shards);
        }

        public uint Term { get; }

        public void Reply(int count)
        {
            Interlocked.Add(ref hits, count);
            pending.Signal();
        }

        public long Wait()
        {
            pending.Wait();
            pending.Dispose();
            return Interlocked.Read(ref hits);
        }
    }

    internal sealed class Scratch
    {
        [ThreadStatic]
        private static Scratch mine;

        public readonly float[] Scores = new float[20_000];
        public readonly ulong[] Seen = new ulong[4_096];

        public static Scratch Mine => mine ?? (mine = new Scratch());
    }

    internal sealed class Shard
    {
        private readonly BlockingCollection<Request> requests = new BlockingCollection<Request>(32);
        private readonly uint[] postings;

        public Shard(int number)
        {
            var random = new Random(number);
            postings = new uint[120_000];
            for (int i = 0; i < postings.Length; i++) postings[i] = (uint)random.Next(100_000);
            new Thread(Run, 256 * 1024) { IsBackground = true, Name = "shard-" + number }.Start();
        }

        public void Ask(Request request) => requests.Add(request);

        private void Run()
        {
            foreach (Request request in requests.GetConsumingEnumerable())
            {
                Scratch scratch = Scratch.Mine;
                Array.Clear(scratch.Seen, 0, scratch.Seen.Length);
                int hits = 0;
                for (int i = 0; i < postings.Length; i++)
                {
                    if (postings[i] % 10_007 == request.Term)
                    {
                        scratch.Scores[hits++ % scratch.Scores.Length] = i;
                        scratch.Seen[i / 64 % scratch.Seen.Length] |= 1UL << (i % 64);
                    }
                }

                request.Reply(hits);
            }
        }
    }

    internal sealed class Node
    {
        private readonly Shard[] shards = Enumerable.Range(0, 48).Select(number => new Shard(number)).ToArray();
        private uint queries;

        public long Queries => queries;

        public long Hits { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Search(long count)
        {
            for (long i = 0; i < count; i++)
            {
                var request = new Request(queries++ % 10_007, shards.Length);
                foreach (Shard shard in shards) shard.Ask(request);
                Hits += request.Wait();
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var node = new Node();
            node.Search(30);
            new ConsoleHost(() => new Report().Add("queries", node.Queries).Add("hits", node.Hits))
                .On("serve", node.Search)
                .Run();
        }
    }
}
