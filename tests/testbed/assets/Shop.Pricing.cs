// Shop.Pricing, the service of `leakhound demo`: it prices carts and forgets to forget the quotes.
//
//     Shop.Pricing.dll [MEGABYTES_PER_SECOND] [MEGABYTES_AT_MOST]
//
// It ends when its standard input closes.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Threading;

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

    /// <summary>The leak: a key per request, and nothing ever removes one.</summary>
    internal static class QuoteCache
    {
        public static readonly Dictionary<string, Quote> Quotes = new Dictionary<string, Quote>();
    }

    internal sealed class QuoteService
    {
        private const int DocumentBytes = 2_400;
        private int given;

        public Quote Give(string customer)
        {
            string key = customer + "/" + given++;
            var quote = new Quote
            {
                Customer = customer,
                ValidUntil = DateTime.UtcNow.AddDays(14),
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
    }

    internal static class Program
    {
        private static void Main(string[] arguments)
        {
            double rate = Argument(arguments, 0, 12);
            double most = Argument(arguments, 1, 600);
            new Thread(() => Work(rate, most)) { IsBackground = true, Name = "pricing" }.Start();
            Console.WriteLine("READY {\"pid\":" + Process.GetCurrentProcess().Id + "}");
            while (Console.In.ReadLine() != null)
            {
            }

            Process.GetCurrentProcess().Kill();
        }

        private static double Argument(string[] arguments, int index, double otherwise) =>
            arguments.Length > index ? double.Parse(arguments[index], CultureInfo.InvariantCulture) : otherwise;

        /// <summary>Gives quotes at a steady rate, by the clock, and says what it did every second.</summary>
        private static void Work(double megabytesPerSecond, double megabytesAtMost)
        {
            // What one quote keeps alive, measured: document, lines, strings, dictionary entry.
            const double quoteBytes = 3_100;
            var service = new QuoteService();
            Stopwatch clock = Stopwatch.StartNew();
            long said = 0;
            while (true)
            {
                double goal = Math.Min(megabytesAtMost, clock.Elapsed.TotalSeconds * megabytesPerSecond);
                while (QuoteCache.Quotes.Count * quoteBytes < goal * 1_000_000)
                {
                    service.Give("customer-" + QuoteCache.Quotes.Count % 1_000);
                }

                if (clock.ElapsedMilliseconds / 1_000 > said)
                {
                    said = clock.ElapsedMilliseconds / 1_000;
                    Console.WriteLine(string.Format(
                        CultureInfo.InvariantCulture,
                        "{0:N0} quotes given, {1:N0} MB in use",
                        QuoteCache.Quotes.Count,
                        GC.GetTotalMemory(false) / 1e6));
                }

                Thread.Sleep(20);
            }
        }
    }
}
