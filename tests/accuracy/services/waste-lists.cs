// Lists are made for a thousand measurements and get two
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Meters
{
    internal sealed class Meter
    {
        public string Name;
        public List<double> Values = new List<double>(1_000);
    }

    internal static class Program
    {
        private static readonly Dictionary<string, Meter> Meters = new Dictionary<string, Meter>();

        private static void Main()
        {
            for (int i = 0; i < 15_000; i++)
            {
                var meter = new Meter { Name = "meter " + i };
                meter.Values.Add(i);
                meter.Values.Add(i + 1);
                Meters.Add(meter.Name, meter);
            }

            new ConsoleHost(() => new Report().Add("meters", Meters.Count)).Run();
        }
    }
}
