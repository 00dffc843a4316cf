// A catalog import parses every row into strings of its own, though there are only some forty different texts.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Catalog
{
    internal sealed class CatalogRow
    {
        public int Article;
        public string Category;
        public string Shipping;
        public string Country;
    }

    internal sealed class CatalogImport
    {
        private static readonly string[] Categories =
        {
            "Household and kitchen appliances, large", "Garden furniture and outdoor equipment", "Books, printed, second hand, collectible",
            "Children's clothing and footwear, winter", "Bicycle parts, accessories and repair tools", "Office supplies, paper, toner and ink",
        };

        private static readonly string[] Shipping =
        {
            "Ships within two working days from the central warehouse", "Ships directly from the manufacturer within three weeks",
            "Collected in the shop of your choice, free of charge", "Delivered by a forwarding agent to the curb side",
        };

        private readonly List<CatalogRow> rows = new List<CatalogRow>();

        public int Count => rows.Count;

        public long DuplicateBytes { get; private set; }

        public void Import(int count)
        {
            for (int i = 0; i < count; i++)
            {
                rows.Add(new CatalogRow
                {
                    Article = i,
                    Category = Parse(Categories[i % Categories.Length]),
                    Shipping = Parse(Shipping[i % Shipping.Length]),
                    Country = Parse("Germany"),
                });
            }
        }

        /// <summary>What a parser does with a slice of its input: a new string each time.</summary>
        private string Parse(string field)
        {
            string parsed = new string(field.ToCharArray());
            DuplicateBytes += (22 + 2 * parsed.Length + 7) / 8 * 8;
            return parsed;
        }
    }

    internal static class Program
    {
        private static readonly int Rows = Gauge.Scaled(550_000);

        private static void Main()
        {
            var import = new CatalogImport();
            import.Import(Rows);
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("rows", import.Count)
                    .Add("duplicate_bytes", import.DuplicateBytes)
                    .Add("gc", Gauge.Heap()))
                .Run();
        }
    }
}
