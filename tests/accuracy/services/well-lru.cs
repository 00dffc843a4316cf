// A static cache in order of use is full and stays so
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well1
{
    internal sealed class Article
    {
        public int Id;
        public byte[] Html = new byte[3_000];
    }

    /// <summary>Least recently used goes first.</summary>
    internal sealed class LruCache
    {
        private readonly int capacity;
        private readonly Dictionary<int, LinkedListNode<Article>> byId = new Dictionary<int, LinkedListNode<Article>>();
        private readonly LinkedList<Article> byUse = new LinkedList<Article>();

        public LruCache(int capacity)
        {
            this.capacity = capacity;
        }

        public int Count => byId.Count;

        public Article Get(int id)
        {
            if (byId.TryGetValue(id, out LinkedListNode<Article> node))
            {
                byUse.Remove(node);
                byUse.AddFirst(node);
                return node.Value;
            }

            if (byId.Count == capacity)
            {
                byId.Remove(byUse.Last.Value.Id);
                byUse.RemoveLast();
            }

            byId.Add(id, byUse.AddFirst(new Article { Id = id }));
            return byUse.First.Value;
        }
    }

    internal static class Program
    {
        private static readonly LruCache Cache = new LruCache(30_000);

        private static void Main()
        {
            for (int i = 0; i < 90_000; i++)
            {
                Cache.Get(i * 7 % 50_000);
            }

            new ConsoleHost(() => new Report().Add("cached", Cache.Count)).Run();
        }
    }
}
