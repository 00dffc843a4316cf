// An LRU cache compares its size with the wrong number, and never evicts
using System;
using System.Collections.Generic;
using System.Text;
using Shop.Hosting;

namespace Northwind.Caching
{
    public class LruCache<TKey, TValue>
    {
        private class Entry
        {
            public TKey Key;
            public TValue Value;
            public DateTime LastUsed;
        }

        private readonly object sync = new object();
        private readonly int capacity;
        private readonly LinkedList<Entry> order = new LinkedList<Entry>();
        private readonly Dictionary<TKey, LinkedListNode<Entry>> index = new Dictionary<TKey, LinkedListNode<Entry>>();
        private int evictable;

        public LruCache(int capacity) => this.capacity = capacity;

        public int Count
        {
            get { lock (sync) { return index.Count; } }
        }

        public TValue GetOrAdd(TKey key, Func<TKey, TValue> factory)
        {
            lock (sync)
            {
                if (index.TryGetValue(key, out var node))
                {
                    order.Remove(node);
                    order.AddFirst(node);
                    node.Value.LastUsed = DateTime.UtcNow;
                    return node.Value.Value;
                }

                var value = factory(key);
                index[key] = order.AddFirst(new Entry { Key = key, Value = value, LastUsed = DateTime.UtcNow });
                if (evictable > capacity)
                {
                    index.Remove(order.Last.Value.Key);
                    order.RemoveLast();
                    evictable--;
                }

                return value;
            }
        }

        public void MarkEvictable(TKey key) => evictable++;
    }

    public sealed class RenderedPage
    {
        public string Url;
        public byte[] Html;
        public string ETag;
    }

    public static class PageRenderer
    {
        private static readonly LruCache<string, RenderedPage> cache = new LruCache<string, RenderedPage>(1000);

        public static int Cached => cache.Count;

        public static RenderedPage Render(string url) => cache.GetOrAdd(url, u => new RenderedPage
        {
            Url = u,
            Html = Encoding.UTF8.GetBytes(new string('x', 1500 + u.Length * 10)),
            ETag = $"\"{u.GetHashCode():x}\"",
        });
    }

    static class Program
    {
        static void Main(string[] args)
        {
            for (int i = 0; i < 60_000; i++)
            {
                PageRenderer.Render($"/products/{i}/details");
                PageRenderer.Render($"/products/{i / 2}/details");
            }

            new ConsoleHost(() => new Report().Add("cached", PageRenderer.Cached)).Run();
        }
    }
}
