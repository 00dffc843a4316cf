// Resolvers await a batch that is sent when it is full; one service's batches are never full
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Proseware.Graph
{
    /// <summary>A load that is awaited like a task, but is a struct over its batch.</summary>
    internal readonly struct Load<TKey, TValue> : ICriticalNotifyCompletion
    {
        private readonly Batch<TKey, TValue> batch;
        private readonly TKey key;

        public Load(Batch<TKey, TValue> batch, TKey key)
        {
            this.batch = batch;
            this.key = key;
        }

        public bool IsCompleted => batch.Results != null;

        public Load<TKey, TValue> GetAwaiter() => this;

        public TValue GetResult() => batch.Results[key];

        public void OnCompleted(Action continuation) => batch.Continuations.Add(continuation);

        public void UnsafeOnCompleted(Action continuation) => batch.Continuations.Add(continuation);
    }

    internal sealed class Batch<TKey, TValue>
    {
        public readonly HashSet<TKey> Keys = new HashSet<TKey>();
        public readonly List<Action> Continuations = new List<Action>();
        public Dictionary<TKey, TValue> Results;
    }

    internal sealed class DataLoader<TKey, TValue>
    {
        private readonly Func<IEnumerable<TKey>, Dictionary<TKey, TValue>> fetch;
        private readonly int size;
        private Batch<TKey, TValue> open = new Batch<TKey, TValue>();

        public DataLoader(int size, Func<IEnumerable<TKey>, Dictionary<TKey, TValue>> fetch)
        {
            this.size = size;
            this.fetch = fetch;
        }

        public int Waiting => open.Continuations.Count;

        public Load<TKey, TValue> this[TKey key]
        {
            get
            {
                Batch<TKey, TValue> batch = open;
                batch.Keys.Add(key);
                // Counts keys, not waiters: the same 40 suppliers are asked for again and again.
                if (batch.Keys.Count >= size)
                {
                    open = new Batch<TKey, TValue>();
                    batch.Results = fetch(batch.Keys);
                    foreach (Action continuation in batch.Continuations) continuation();
                }

                return new Load<TKey, TValue>(batch, key);
            }
        }
    }

    internal sealed class Product
    {
        public int Sku;
        public int Supplier;
        public byte[] Selection;
    }

    internal sealed class Gateway
    {
        private readonly DataLoader<int, decimal> prices;
        private readonly DataLoader<int, string> suppliers;
        private int queries;

        public Gateway()
        {
            prices = new DataLoader<int, decimal>(50, keys => Fetch(keys, sku => sku * 0.99m));
            suppliers = new DataLoader<int, string>(50, keys => Fetch(keys, id => "supplier " + id));
        }

        public int Queries => queries;

        public int Answered { get; private set; }

        public int Waiting => suppliers.Waiting;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Query(long count)
        {
            for (long i = 0; i < count; i++)
            {
                int sku = ++queries;
                _ = ResolveProductAsync(new Product { Sku = sku, Supplier = sku % 40, Selection = new byte[1_400] });
            }
        }

        private async Task ResolveProductAsync(Product product)
        {
            string line = await ResolvePriceAsync(product) + " from " + await ResolveSupplierAsync(product);
            Answered += line.Length > 0 ? 1 : 0;
        }

        private async Task<decimal> ResolvePriceAsync(Product product) => await prices[product.Sku];

        private async Task<string> ResolveSupplierAsync(Product product)
        {
            string name = await suppliers[product.Supplier];
            return name + "/" + product.Selection.Length;
        }

        private static Dictionary<int, T> Fetch<T>(IEnumerable<int> keys, Func<int, T> one)
        {
            var found = new Dictionary<int, T>();
            foreach (int key in keys) found[key] = one(key);
            return found;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var gateway = new Gateway();
            gateway.Query(24_000);
            new ConsoleHost(() => new Report()
                    .Add("queries", gateway.Queries)
                    .Add("answered", gateway.Answered)
                    .Add("waiting", gateway.Waiting))
                .On("serve", gateway.Query)
                .Run();
        }
    }
}
