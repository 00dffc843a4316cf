// A singleton in a home-made container keeps every product that was ever looked up
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Catalog
{
    internal sealed class Container
    {
        private readonly Dictionary<Type, object> singletons = new Dictionary<Type, object>();

        public static readonly Container Root = new Container();

        public T Get<T>()
            where T : class, new()
        {
            if (!singletons.TryGetValue(typeof(T), out object found))
            {
                singletons.Add(typeof(T), found = new T());
            }

            return (T)found;
        }
    }

    internal sealed class Product
    {
        public int Id;
        public string Title;
        public byte[] Sheet = new byte[500];
    }

    internal sealed class ProductLookup
    {
        private readonly Dictionary<int, Product> seen = new Dictionary<int, Product>();

        public int Count => seen.Count;

        public Product Find(int id)
        {
            if (!seen.TryGetValue(id, out Product product))
            {
                seen.Add(id, product = new Product { Id = id, Title = "product " + id });
            }

            return product;
        }
    }

    internal sealed class Clock
    {
        public DateTime Now = new DateTime(2026, 1, 1);
    }

    internal static class Program
    {
        private static void Main()
        {
            Container.Root.Get<Clock>();
            for (int i = 0; i < Gauge.Scaled(140_000); i++)
            {
                Container.Root.Get<ProductLookup>().Find(i);
            }

            new ConsoleHost(() => new Report().Add("seen", Container.Root.Get<ProductLookup>().Count)).Run();
        }
    }
}
