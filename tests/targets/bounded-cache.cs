// Most of the heap is one static cache, and it is meant to be: it has a bound, and pages come and go under load.
using System;
using System.Collections.Generic;
using System.Text;
using Shop.Hosting;

namespace Shop.Pages
{
    internal sealed class Page
    {
        public string Path;
        public byte[] Body;
    }

    /// <summary>Bounded, first in first out.</summary>
    internal static class PageCache
    {
        public const int Capacity = 20_000;
        private static readonly Dictionary<string, Page> Pages = new Dictionary<string, Page>(Capacity);
        private static readonly Queue<string> Order = new Queue<string>(Capacity);

        public static int Count => Pages.Count;

        public static Page Get(string path)
        {
            if (Pages.TryGetValue(path, out Page page))
            {
                return page;
            }

            if (Pages.Count == Capacity)
            {
                Pages.Remove(Order.Dequeue());
            }

            page = new Page { Path = path, Body = Encoding.UTF8.GetBytes(new string('x', 8_000 - path.Length)) };
            Pages.Add(path, page);
            Order.Enqueue(path);
            return page;
        }
    }

    internal static class Program
    {
        private static long served;

        private static void Main()
        {
            Serve(PageCache.Capacity * 2);
            new ConsoleHost(() => new Report().Add("served", served).Add("cached", PageCache.Count).Add("gc", Gauge.Heap()))
                .On("serve", Serve)
                .Run();
        }

        private static void Serve(long requests)
        {
            for (long i = 0; i < requests; i++)
            {
                PageCache.Get("/page/" + served++ % 90_000);
                if (served % 2_000 == 0)
                {
                    GC.Collect(1);
                }
            }

            Gauge.Collect();
        }
    }
}
