// Every basket view listens to price changes and is closed without a word to the price feed, which lives as long as the process.
using System;
using Shop.Hosting;

namespace Shop.Baskets
{
    internal sealed class PriceFeed
    {
        public static readonly PriceFeed Instance = new PriceFeed();

        public event EventHandler Changed;

        public int Listeners => Changed == null ? 0 : Changed.GetInvocationList().Length;
    }

    internal sealed class BasketView
    {
        private readonly byte[] rendered = new byte[4_000];
        private readonly string customer;

        public BasketView(string customer)
        {
            this.customer = customer;
            PriceFeed.Instance.Changed += OnPriceChanged;
        }

        private void OnPriceChanged(object sender, EventArgs args)
        {
            rendered[0] = (byte)customer.Length;
        }
    }

    internal static class Program
    {
        private const int Views = 15_000;

        private static void Main()
        {
            for (int i = 0; i < Views; i++)
            {
                new BasketView("customer-" + i);
            }

            new ConsoleHost(() => new Report().Add("listeners", PriceFeed.Instance.Listeners)).Run();
        }
    }
}
