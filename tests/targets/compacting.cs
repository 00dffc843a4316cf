// Shop.Search: one thread replaces entries of an index all over the heap, another has it compacted again and again.
using System;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Shop.Search
{
    /// <summary>One word of the index: its text and where it occurs.</summary>
    internal sealed class Posting
    {
        public string Word;
        public int[] Documents;
        public Posting Next;

        public Posting(int number, Posting next)
        {
            Word = "word-" + number;
            Documents = new int[number % 40];
            Next = next;
        }
    }

    internal static class Program
    {
        private static readonly Posting[] Index = new Posting[Gauge.Scaled(400_000)];

        private static void Main()
        {
            for (int i = 0; i < Index.Length; i++)
            {
                Index[i] = new Posting(i, i > 0 ? Index[i - 1] : null);
            }

            Start("replace", Replace);
            Start("compact", Compact);
            new ConsoleHost(() => new Report().Add("postings", Index.Length).Add("gc", Gauge.Heap())).Run();
        }

        private static void Start(string name, Action work)
        {
            var thread = new Thread(() =>
            {
                while (true)
                {
                    work();
                }
            });
            thread.IsBackground = true;
            thread.Name = name;
            thread.Start();
        }

        private static void Compact()
        {
            GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);

            // Without a pause in between, nothing else would run on a busy machine.
            Thread.Sleep(5);
        }

        private static void Replace()
        {
            for (int i = 0; i < Index.Length; i += 7)
            {
                Index[i] = new Posting(i, null);
            }
        }
    }
}
