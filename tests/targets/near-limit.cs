// Carts of customers who are shopping right now; the container is simply too small for them.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Cart
{
    internal sealed class Cart
    {
        public string Customer;
        public Dictionary<string, int> Articles;
        public byte[] Recommendations;
    }

    internal sealed class CartStore
    {
        private readonly Dictionary<string, Cart> carts = new Dictionary<string, Cart>();

        public int Count => carts.Count;

        public void Open(int count)
        {
            for (int i = 0; i < count; i++)
            {
                var cart = new Cart
                {
                    Customer = "customer-" + i,
                    Articles = new Dictionary<string, int> { ["sku-" + i % 300] = 1, ["sku-" + i % 70] = 2 },
                    Recommendations = new byte[9_000],
                };
                for (int j = 0; j < cart.Recommendations.Length; j += 256)
                {
                    cart.Recommendations[j] = (byte)(i + j);
                }

                carts.Add(cart.Customer, cart);
            }
        }
    }

    internal static class Program
    {
        private const int Carts = 24_500;

        private static void Main()
        {
            var store = new CartStore();
            store.Open(Carts);
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("carts", store.Count)
                    .Add("limit_bytes", 268_435_456)
                    .Add("gc", Gauge.Heap()))
                .Run();
            GC.KeepAlive(store);
        }
    }
}
