// A book of prices is immutable; each change makes a new one that shares most of the old, which is let go
using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Graphicdesign.Pricing
{
    internal sealed class Price
    {
        public Price(long cents, DateTime since)
        {
            Cents = cents;
            Since = since;
        }

        public long Cents { get; }

        public DateTime Since { get; }

        public Price Raise(int percent) => new Price(Cents + Cents * percent / 100, DateTime.UtcNow);
    }

    internal sealed class PriceBook
    {
        public static readonly PriceBook Empty = new PriceBook(0, ImmutableSortedDictionary<long, Price>.Empty);
        private readonly ImmutableSortedDictionary<long, Price> prices;

        private PriceBook(int edition, ImmutableSortedDictionary<long, Price> prices)
        {
            Edition = edition;
            this.prices = prices;
        }

        public int Edition { get; }

        public int Count => prices.Count;

        public PriceBook With(IEnumerable<KeyValuePair<long, Price>> changes) =>
            new PriceBook(Edition + 1, prices.SetItems(changes));

        public bool TryGet(long article, out Price price) => prices.TryGetValue(article, out price);
    }

    internal static class Current
    {
        private static PriceBook book = PriceBook.Empty;

        public static PriceBook Book => Volatile.Read(ref book);

        public static void Update(Func<PriceBook, PriceBook> change)
        {
            PriceBook before;
            PriceBook after;
            do
            {
                before = Volatile.Read(ref book);
                after = change(before);
            }
            while (Interlocked.CompareExchange(ref book, after, before) != before);
        }
    }

    internal sealed class Importer
    {
        private const int Articles = 450_000;
        private readonly Random random = new Random(3);

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void First()
        {
            Current.Update(book => book.With(All()));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Change(long editions)
        {
            for (long i = 0; i < editions; i++)
            {
                Current.Update(book => book.With(Some(book, 400)));
            }
        }

        private static IEnumerable<KeyValuePair<long, Price>> All()
        {
            for (long article = 0; article < Articles; article++)
            {
                yield return KeyValuePair.Create(article * 7, new Price(article % 9_973 + 100, DateTime.UnixEpoch));
            }
        }

        private IEnumerable<KeyValuePair<long, Price>> Some(PriceBook book, int count)
        {
            for (int i = 0; i < count; i++)
            {
                long article = random.Next(Articles) * 7L;
                if (book.TryGet(article, out Price price))
                {
                    yield return KeyValuePair.Create(article, price.Raise(random.Next(-3, 5)));
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var importer = new Importer();
            importer.First();
            importer.Change(100);
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("edition", Current.Book.Edition)
                    .Add("articles", Current.Book.Count))
                .On("serve", importer.Change)
                .Run();
        }
    }
}
