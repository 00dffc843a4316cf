// A nightly batch left garbage, and nothing has been allocated since
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Nightly
{
    internal sealed class Row
    {
        public string Text;
        public decimal[] Values = new decimal[40];
    }

    internal static class Program
    {
        private static void Main()
        {
            long rows = Run();
            new ConsoleHost(() => new Report().Add("rows", rows)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static long Run()
        {
            var rows = new List<Row>();
            for (int i = 0; i < 160_000; i++)
            {
                rows.Add(new Row { Text = "row " + i });
            }

            return rows.Count;
        }
    }
}
