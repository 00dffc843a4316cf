// A storefront under steady load. Its cache drops the oldest page when it is full.
using System;
using System.Collections.Generic;
using System.Text;
using System.Threading;
using Shop.Hosting;

namespace Shop.Storefront
{
    internal sealed class Page
    {
        public string Path;
        public byte[] Body;
    }

    /// <summary>Bounded, first in first out.</summary>
    internal sealed class PageCache
    {
        private readonly int capacity;
        private readonly Dictionary<string, Page> pages = new Dictionary<string, Page>();
        private readonly Queue<string> order = new Queue<string>();

        public PageCache(int capacity)
        {
            this.capacity = capacity;
        }

        public int Count => pages.Count;

        public Page GetOrAdd(string path, Func<string, Page> render)
        {
            if (pages.TryGetValue(path, out Page page))
            {
                return page;
            }

            if (pages.Count == capacity)
            {
                pages.Remove(order.Dequeue());
            }

            page = render(path);
            pages.Add(path, page);
            order.Enqueue(path);
            return page;
        }
    }

    internal sealed class Storefront
    {
        private readonly PageCache cache = new PageCache(1_000);
        private readonly Random random = new Random(7);

        public long Served { get; private set; }

        public int Cached => cache.Count;

        public void Serve()
        {
            Page page = cache.GetOrAdd("/article/" + random.Next(3_000), Render);
            if (page.Body.Length == 0)
            {
                throw new InvalidOperationException(page.Path);
            }

            Served++;
        }

        private static Page Render(string path)
        {
            var text = new StringBuilder();
            while (text.Length < 10_000)
            {
                text.Append("<p>").Append(path).Append("</p>");
            }

            return new Page { Path = path, Body = Encoding.UTF8.GetBytes(text.ToString()) };
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var storefront = new Storefront();
            for (int i = 0; i < 20_000; i++)
            {
                storefront.Serve();
            }

            var load = new Thread(() => Load(storefront)) { IsBackground = true, Name = "load" };
            load.Start();
            new ConsoleHost(() => new Report()
                    .Add("served", storefront.Served)
                    .Add("cached", storefront.Cached)
                    .Add("gc", Gauge.Heap()))
                .Run();
        }

        private static void Load(Storefront storefront)
        {
            while (true)
            {
                for (int i = 0; i < 20; i++)
                {
                    storefront.Serve();
                }

                Thread.Sleep(20);
            }
        }
    }
}
