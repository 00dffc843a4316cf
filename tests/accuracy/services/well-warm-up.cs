// Tables are filled while it warms up, and then it works without growing
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well4
{
    internal sealed class Table
    {
        private readonly Dictionary<int, decimal[]> rows = new Dictionary<int, decimal[]>();

        public int Count => rows.Count;

        public decimal Look(int key)
        {
            key %= 60_000;
            if (!rows.TryGetValue(key, out decimal[] row))
            {
                rows.Add(key, row = new decimal[60]);
            }

            return row[0];
        }
    }

    internal static class Program
    {
        private static readonly Table Rates = new Table();

        private static void Main()
        {
            Work(70_000);
            new ConsoleHost(() => new Report().Add("rows", Rates.Count)).On("work", Work).Run();
        }

        private static void Work(long requests)
        {
            for (int i = 0; i < requests; i++)
            {
                Rates.Look(i);
                GC.KeepAlive(new byte[4_000]);
            }

            Gauge.Collect();
        }
    }
}
