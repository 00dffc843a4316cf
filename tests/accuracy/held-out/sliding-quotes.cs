// Entries expire when nobody has asked for them for a while, but the loop that refreshes them asks for each
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Alpine.Quotes
{
    public interface ICache<TKey, TValue>
    {
        ValueTask<TValue> GetAsync(TKey key, Func<TKey, Task<TValue>> load);

        ICollection<TKey> Keys { get; }
    }

    public class SlidingCache<TKey, TValue> : ICache<TKey, TValue>
    {
        private class Item
        {
            public TValue Value;
            public long LastUsed;
        }

        private readonly ConcurrentDictionary<TKey, Item> _items = new ConcurrentDictionary<TKey, Item>();
        private readonly TimeSpan _idle;
        private int _adds;

        public SlidingCache(TimeSpan idle) { _idle = idle; }

        public ICollection<TKey> Keys => _items.Keys;

        public int Count => _items.Count;

        public async ValueTask<TValue> GetAsync(TKey key, Func<TKey, Task<TValue>> load)
        {
            if (_items.TryGetValue(key, out var item))
            {
                item.LastUsed = Stopwatch.GetTimestamp();
                return item.Value;
            }

            var value = await load(key);
            _items.TryAdd(key, new Item { Value = value, LastUsed = Stopwatch.GetTimestamp() });
            if (Interlocked.Increment(ref _adds) % 10_000 == 0)
            {
                foreach (var pair in _items)
                {
                    if ((Stopwatch.GetTimestamp() - pair.Value.LastUsed) / (double)Stopwatch.Frequency > _idle.TotalSeconds)
                    {
                        _items.TryRemove(pair.Key, out _);
                    }
                }
            }

            return value;
        }
    }

    public class Quote
    {
        public Guid Id;
        public string Text;
        public decimal[] Steps = new decimal[24];
    }

    public class QuoteService
    {
        private readonly ICache<Guid, Quote> _cache;

        public QuoteService(ICache<Guid, Quote> cache) { _cache = cache; }

        public async Task<Quote> QuoteAsync(Guid id) => await _cache.GetAsync(id, async key =>
        {
            await Task.Yield();
            return new Quote { Id = key, Text = "quote " + key.ToString("N") };
        });

        public async Task RefreshForeverAsync()
        {
            while (true)
            {
                foreach (var key in _cache.Keys)
                {
                    await QuoteAsync(key);
                }

                await Task.Delay(TimeSpan.FromSeconds(15));
            }
        }
    }

    public static class Program
    {
        public static async Task Main()
        {
            var cache = new SlidingCache<Guid, Quote>(TimeSpan.FromMinutes(20));
            var service = new QuoteService(cache);
            await Ask(120_000);
            _ = Task.Run(service.RefreshForeverAsync);
            new ConsoleHost(() => new Report().Add("quotes", cache.Count)).On("ask", count => Ask(count).Wait()).Run();

            async Task Ask(long count)
            {
                for (long i = 0; i < count; i++)
                {
                    await service.QuoteAsync(Guid.NewGuid());
                }
            }
        }
    }
}
