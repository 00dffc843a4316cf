// Every customer has its own copy of the name of its country
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Crm
{
    internal sealed class Customer
    {
        public int Id;
        public string Country;
        public string Segment;
    }

    internal static class Program
    {
        private static readonly string[] Countries = { "United Kingdom of Great Britain", "Federal Republic of Germany", "Kingdom of Denmark" };

        private static void Main()
        {
            var customers = new List<Customer>();
            for (int i = 0; i < 500_000; i++)
            {
                customers.Add(new Customer
                {
                    Id = i,
                    Country = new string(Countries[i % 3].ToCharArray()),
                    Segment = new string("small and medium".ToCharArray()),
                });
            }

            new ConsoleHost(() => new Report().Add("customers", customers.Count)).Run();
            GC.KeepAlive(customers);
        }
    }
}
