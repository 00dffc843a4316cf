// A price source that lives as long as the process is held by a local, and orders never unsubscribe
using System;
using Shop.Hosting;

namespace Acme.Trading
{
    internal sealed class Quote : EventArgs
    {
        public decimal Price;
    }

    internal sealed class PriceSource
    {
        public event EventHandler<Quote> Quoted;

        public void Publish(decimal price) => Quoted?.Invoke(this, new Quote { Price = price });
    }

    internal sealed class Order
    {
        private readonly decimal limit;
        private readonly double[] book = new double[250];

        public Order(PriceSource source, decimal limit)
        {
            this.limit = limit;
            source.Quoted += OnQuoted;
        }

        private void OnQuoted(object sender, Quote quote)
        {
            if (quote.Price > limit)
            {
                book[0]++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var source = new PriceSource();
            for (int i = 0; i < 12_000; i++)
            {
                new Order(source, i);
            }

            source.Publish(5);
            new ConsoleHost(() => new Report().Add("orders", 12_000)).Run();
            GC.KeepAlive(source);
        }
    }
}
