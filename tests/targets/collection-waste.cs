// Each customer gets a list with room for a thousand orders; almost nobody has more than two.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Customers
{
    internal sealed class Order
    {
        public int Number;
    }

    internal sealed class Customer
    {
        public string Name;
        public List<Order> Orders = new List<Order>(1_000);
    }

    internal static class Program
    {
        private const int Customers = 18_000;
        private static readonly Dictionary<string, Customer> Known = new Dictionary<string, Customer>();

        private static void Main()
        {
            for (int i = 0; i < Customers; i++)
            {
                var customer = new Customer { Name = "customer-" + i };
                customer.Orders.Add(new Order { Number = i });
                Known.Add(customer.Name, customer);
            }

            new ConsoleHost(() => new Report().Add("customers", Known.Count)).Run();
        }
    }
}
