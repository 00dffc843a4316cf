// A lazily made static index is never trimmed
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Search
{
    internal static class Index
    {
        private static readonly Lazy<SortedDictionary<string, int[]>> Words =
            new Lazy<SortedDictionary<string, int[]>>(() => new SortedDictionary<string, int[]>(StringComparer.Ordinal));

        public static int Count => Words.Value.Count;

        public static void Add(int i) => Words.Value["word " + i] = new int[150];
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(120_000); i++)
            {
                Index.Add(i);
            }

            new ConsoleHost(() => new Report().Add("words", Index.Count)).Run();
        }
    }
}
