// A static dictionary of reference data is large, complete from the start, and only read
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well8
{
    internal sealed class Postcode
    {
        public string Town;
        public double[] Shape = new double[40];
    }

    internal static class Postcodes
    {
        public static readonly Dictionary<int, Postcode> ByCode = Load();

        private static Dictionary<int, Postcode> Load()
        {
            var all = new Dictionary<int, Postcode>();
            for (int i = 0; i < 200_000; i++)
            {
                all.Add(i, new Postcode { Town = "town " + i });
            }

            return all;
        }
    }

    internal static class Program
    {
        private static long asked;

        private static void Main()
        {
            Ask(100_000);
            new ConsoleHost(() => new Report().Add("asked", asked)).On("ask", Ask).Run();
        }

        private static void Ask(long count)
        {
            for (long i = 0; i < count; i++, asked++)
            {
                Postcode found = Postcodes.ByCode[(int)(asked % 200_000)];
                GC.KeepAlive(found.Town + new string(' ', 1_000));
            }
        }
    }
}
