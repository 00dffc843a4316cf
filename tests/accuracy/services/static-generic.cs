// A static field of a generic class keeps what passes through
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Mapping
{
    internal static class Seen<T>
    {
        public static readonly HashSet<T> All = new HashSet<T>();
    }

    internal sealed class Address
    {
        public string Street;
        public byte[] Geometry = new byte[700];
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(110_000); i++)
            {
                Seen<Address>.All.Add(new Address { Street = "street " + i });
            }

            new ConsoleHost(() => new Report().Add("seen", Seen<Address>.All.Count)).Run();
        }
    }
}
