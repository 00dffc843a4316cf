// The translation memory keeps the phrases used last, forty thousand of them, and lets the oldest go for each new one
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Text;
using Shop.Hosting;

namespace Babel.Translation
{
    internal sealed class Phrase
    {
        public Phrase(int id, string source, string target)
        {
            Id = id;
            Source = source;
            Target = target;
        }

        public int Id { get; }
        public string Source { get; }
        public string Target { get; }
        public int Uses { get; set; }
    }

    internal sealed class PhraseMemory
    {
        private readonly int capacity;
        private readonly LinkedList<Phrase> order = new LinkedList<Phrase>();
        private readonly Dictionary<int, LinkedListNode<Phrase>> byId;

        public PhraseMemory(int capacity)
        {
            this.capacity = capacity;
            byId = new Dictionary<int, LinkedListNode<Phrase>>(capacity + 1);
        }

        public int Count => order.Count;

        public Phrase Get(int id, Func<int, Phrase> translate)
        {
            if (byId.TryGetValue(id, out LinkedListNode<Phrase> node))
            {
                order.Remove(node);
                order.AddFirst(node);
            }
            else
            {
                node = order.AddFirst(translate(id));
                byId.Add(id, node);
                if (order.Count > capacity)
                {
                    byId.Remove(order.Last.Value.Id);
                    order.RemoveLast();
                }
            }

            node.Value.Uses++;
            return node.Value;
        }
    }

    internal static class Program
    {
        private static readonly PhraseMemory Memory = new PhraseMemory(40_000);
        private static readonly Random Readers = new Random(1755);
        private static long characters;

        private static Phrase Translate(int id)
        {
            var source = new StringBuilder();
            var target = new StringBuilder();
            for (int word = 0; word < 36; word++)
            {
                source.Append((char)('a' + (id + word) % 26)).Append(id * 31 % 1009 + word).Append(' ');
                target.Append((char)('A' + (id * 7 + word) % 26)).Append(id * 17 % 2003 + word).Append(' ');
            }

            return new Phrase(id, source.Append(id).ToString(), target.Append(id).ToString());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Serve(long requests)
        {
            for (long i = 0; i < requests; i++)
            {
                // Some phrases are asked for all the time, most hardly ever.
                int id = Readers.Next(4) == 0 ? Readers.Next(2_000) : Readers.Next(3_000_000);
                characters += Memory.Get(id, Translate).Target.Length;
            }
        }

        private static void Main()
        {
            Serve(70_000);
            new ConsoleHost(() => new Report().Add("phrases", Memory.Count).Add("characters", characters)).On("serve", Serve).Run();
        }
    }
}
