// Requests run in scopes that are disposed, over a cache with a limit
using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Contoso.Storefront
{
    public sealed class SizedCache
    {
        private readonly Dictionary<string, (byte[] Value, long Stamp)> entries = new Dictionary<string, (byte[], long)>();
        private readonly long sizeLimit;
        private long size;
        private long clock;

        public SizedCache(long sizeLimit) => this.sizeLimit = sizeLimit;

        public int Count => entries.Count;

        public byte[] GetOrCreate(string key, Func<byte[]> create)
        {
            clock++;
            if (entries.TryGetValue(key, out var found))
            {
                entries[key] = (found.Value, clock);
                return found.Value;
            }

            var value = create();
            size += value.Length;
            entries[key] = (value, clock);
            if (size > sizeLimit)
            {
                foreach (var old in entries.OrderBy(e => e.Value.Stamp).Take(entries.Count / 10).ToList())
                {
                    size -= old.Value.Value.Length;
                    entries.Remove(old.Key);
                }
            }

            return value;
        }
    }

    public sealed class RequestScope : IDisposable
    {
        private readonly List<IDisposable> owned = new List<IDisposable>();

        public T Own<T>(T service) where T : IDisposable
        {
            owned.Add(service);
            return service;
        }

        public void Dispose() => owned.ForEach(o => o.Dispose());
    }

    public sealed class UnitOfWork : IDisposable
    {
        private Dictionary<int, string> identityMap = new Dictionary<int, string>();

        public string Load(int id)
        {
            if (!identityMap.TryGetValue(id, out var text))
            {
                identityMap[id] = text = $"product {id}";
            }

            return text;
        }

        public void Dispose() => identityMap = null;
    }

    public static class Program
    {
        private static readonly SizedCache Fragments = new SizedCache(40_000_000);
        private static readonly Random Dice = new Random(11);
        private static long served;

        public static void Main()
        {
            Serve(30_000);
            new ConsoleHost(() => new Report().Add("served", served).Add("fragments", Fragments.Count)).On("serve", Serve).Run();
        }

        private static void Serve(long count)
        {
            for (long i = 0; i < count; i++)
            {
                ServeOne().GetAwaiter().GetResult();
            }
        }

        private static async Task ServeOne()
        {
            using (var scope = new RequestScope())
            {
                var work = scope.Own(new UnitOfWork());
                var page = new StringBuilder();
                for (int i = 0; i < 20; i++)
                {
                    page.Append(work.Load(Dice.Next(5_000)));
                }

                var id = Dice.Next(200_000);
                page.Append(Fragments.GetOrCreate($"fragment:{id}", () => new byte[2_000 + id % 500]).Length);
                await Task.Yield();
                served++;
            }
        }
    }
}
