// Quotes are cached by a key that is different for every request, in a static dictionary that nothing trims.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Pricing
{
    internal sealed class QuoteLine
    {
        public string Sku;
        public int Quantity;
        public decimal UnitPrice;
    }

    internal sealed class Quote
    {
        public string Customer;
        public DateTime ValidUntil;
        public decimal Total;
        public List<QuoteLine> Lines;
        public byte[] Document;
    }

    internal static class QuoteCache
    {
        public static readonly Dictionary<string, Quote> Quotes = new Dictionary<string, Quote>();
    }

    internal sealed class QuoteService
    {
        private const int DocumentBytes = 1_600;
        private int given;

        public Quote Give(string customer)
        {
            string key = customer + "/" + given++;
            var quote = new Quote
            {
                Customer = customer,
                ValidUntil = new DateTime(2026, 1, 1).AddMinutes(given),
                Lines = new List<QuoteLine>(4),
                Document = new byte[DocumentBytes],
            };
            for (int i = 0; i < 4; i++)
            {
                quote.Lines.Add(new QuoteLine { Sku = "sku-" + (given + i) % 500, Quantity = i + 1, UnitPrice = 9.95m });
                quote.Total += 9.95m * (i + 1);
            }

            for (int i = 0; i < quote.Document.Length; i += 64)
            {
                quote.Document[i] = (byte)(given + i);
            }

            QuoteCache.Quotes[key] = quote;
            return quote;
        }

        public void GiveMegabytes(long megabytes)
        {
            long goal = GC.GetTotalMemory(false) + megabytes * 1_000_000;
            do
            {
                for (int i = 0; i < 1_000; i++)
                {
                    Give("customer-" + i);
                }

                // Young garbage of the work itself does not count.
                GC.Collect(1);
            }
            while (GC.GetTotalMemory(false) < goal);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var service = new QuoteService();
            service.GiveMegabytes(Gauge.Scaled(200));
            new ConsoleHost(() => new Report().Add("quotes", QuoteCache.Quotes.Count).Add("gc", Gauge.Heap()))
                .On("grow", service.GiveMegabytes)
                .Run();
        }
    }
}
