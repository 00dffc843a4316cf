// A catalogue of all products is loaded by a singleton at the start, and requests search it
using System;
using System.Collections.Generic;
using System.Linq;
using Shop.Hosting;

namespace Northwind.Search
{
    public sealed class Product
    {
        public int Id;
        public string Name;
        public string[] Tags;
        public decimal Price;
    }

    public sealed class SearchIndex
    {
        private readonly Dictionary<string, List<Product>> byTag = new Dictionary<string, List<Product>>();

        public SearchIndex(IEnumerable<Product> products)
        {
            foreach (var product in products)
            {
                foreach (var tag in product.Tags)
                {
                    if (!byTag.TryGetValue(tag, out var list))
                    {
                        byTag.Add(tag, list = new List<Product>());
                    }

                    list.Add(product);
                }
            }
        }

        public List<Product> Find(string tag, decimal below) => byTag.TryGetValue(tag, out var list) ? list.Where(p => p.Price < below).Take(50).ToList() : new List<Product>();
    }

    public static class Program
    {
        private static readonly Lazy<SearchIndex> Index = new Lazy<SearchIndex>(() => new SearchIndex(Load()));
        private static long hits;

        public static void Main()
        {
            Search(1_000);
            new ConsoleHost(() => new Report().Add("hits", hits)).On("search", Search).Run();
        }

        private static IEnumerable<Product> Load()
        {
            var tags = Enumerable.Range(0, 997).Select(i => $"tag{i}").ToArray();
            var brands = Enumerable.Range(0, 311).Select(i => $"brand{i}").ToArray();
            for (int i = 0; i < 350_000; i++)
            {
                yield return new Product { Id = i, Name = $"Product number {i}", Tags = new[] { tags[i % 997], brands[i % 311] }, Price = i % 500 };
            }
        }

        private static void Search(long count)
        {
            for (long i = 0; i < count; i++)
            {
                hits += Index.Value.Find($"tag{i % 997}", 400).Select(p => p.Name.ToUpperInvariant()).Count(n => n.EndsWith("7"));
            }
        }
    }
}
