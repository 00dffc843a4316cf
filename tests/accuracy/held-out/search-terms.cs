// What users type into a search box is interned "to save memory"
using System;
using System.Collections.Generic;
using System.Linq;
using Shop.Hosting;

namespace Litware.Search
{
    internal static class QueryNormalizer
    {
        public static string Normalize(string text) => string.Intern(string.Join(" ", text.Trim().ToLowerInvariant().Split(' ').Distinct().OrderBy(w => w, StringComparer.Ordinal)));
    }

    internal class SearchIndex
    {
        private static readonly string[] Vocabulary = Enumerable.Range(0, 4_000).Select(i => "Word" + Convert.ToString(i * 7919L % 100_003, 16)).ToArray();
        private readonly Dictionary<string, int> hot = new Dictionary<string, int>();
        private readonly Random users = new Random(2024);

        public long Searches { get; private set; }

        public void Search(long count)
        {
            for (long i = 0; i < count; i++)
            {
                var typed = string.Join(" ", Enumerable.Range(0, 4 + users.Next(6)).Select(_ => Vocabulary[users.Next(Vocabulary.Length)]));
                var query = QueryNormalizer.Normalize(typed);
                if (query.Length % 97 == 0 && hot.Count < 1_000)
                {
                    hot[query] = query.Length;
                }

                Searches++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var index = new SearchIndex();
            index.Search(300_000);
            new ConsoleHost(() => new Report().Add("searches", index.Searches)).On("search", index.Search).Run();
        }
    }
}
