// A semaphore for every key that was ever locked stays in a dictionary
using System;
using System.Collections.Concurrent;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Northwind.Inventory
{
    public static class KeyedLock
    {
        private static readonly ConcurrentDictionary<string, SemaphoreSlim> s_locks = new ConcurrentDictionary<string, SemaphoreSlim>(StringComparer.OrdinalIgnoreCase);

        public static int Count => s_locks.Count;

        public static async Task<IDisposable> AcquireAsync(string key)
        {
            var semaphore = s_locks.GetOrAdd(key, _ => new SemaphoreSlim(1, 1));
            await semaphore.WaitAsync().ConfigureAwait(false);
            return new Releaser(semaphore);
        }

        private sealed class Releaser : IDisposable
        {
            private readonly SemaphoreSlim _semaphore;

            public Releaser(SemaphoreSlim semaphore) => _semaphore = semaphore;

            public void Dispose() => _semaphore.Release();
        }
    }

    public class StockService
    {
        private int _moves;

        public async Task MoveAsync(Guid order)
        {
            using (await KeyedLock.AcquireAsync($"stock:order:{order}"))
            {
                await Task.Yield();
                Interlocked.Increment(ref _moves);
            }
        }
    }

    public static class Program
    {
        public static async Task Main()
        {
            var service = new StockService();
            for (var i = 0; i < 300_000; i++)
            {
                await service.MoveAsync(Guid.NewGuid());
            }

            new ConsoleHost(() => new Report().Add("locks", KeyedLock.Count)).Run();
        }
    }
}
