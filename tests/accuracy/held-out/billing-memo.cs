// Statements are memoized by a key that holds the moment of the request, so no entry is ever found again
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Contoso.Billing
{
    public readonly struct StatementKey : IEquatable<StatementKey>
    {
        private readonly int account;
        private readonly DateTime asOf;

        public StatementKey(int account, DateTime asOf)
        {
            this.account = account;
            this.asOf = asOf;
        }

        public bool Equals(StatementKey other) => account == other.account && asOf == other.asOf;

        public override bool Equals(object obj) => obj is StatementKey other && Equals(other);

        public override int GetHashCode() => HashCode.Combine(account, asOf);
    }

    public sealed class Posting
    {
        public long Cents;
        public DateTime Day;
        public string Reference;
    }

    public sealed class Statement
    {
        public readonly List<Posting> Postings;
        public readonly long Balance;

        public Statement(List<Posting> postings)
        {
            Postings = postings;
            foreach (var posting in postings) Balance += posting.Cents;
        }
    }

    /// <summary>Runs the factory once per key, however many callers ask at the same time.</summary>
    public static class Memo<TKey, TValue> where TKey : struct, IEquatable<TKey>
    {
        private static readonly ConcurrentDictionary<TKey, Lazy<Task<TValue>>> Entries =
            new ConcurrentDictionary<TKey, Lazy<Task<TValue>>>();

        public static int Count => Entries.Count;

        public static Task<TValue> GetAsync(TKey key, Func<TKey, Task<TValue>> factory) =>
            Entries.GetOrAdd(key, k => new Lazy<Task<TValue>>(() => factory(k))).Value;
    }

    public interface ILedger
    {
        Task<Statement> ReadAsync(int account);
    }

    internal sealed class SimulatedLedger : ILedger
    {
        private readonly Random random = new Random(42);

        public async Task<Statement> ReadAsync(int account)
        {
            var postings = new List<Posting>(40);
            for (var i = 0; i < 40; i++)
            {
                postings.Add(new Posting
                {
                    Cents = random.Next(-90_000, 90_000),
                    Day = new DateTime(2024, 1, 1).AddDays(i),
                    Reference = $"{account:x}/{random.Next():x8}",
                });
            }

            await Task.CompletedTask;
            return new Statement(postings);
        }
    }

    internal sealed class StatementEndpoint
    {
        private readonly ILedger ledger;
        private DateTime clock = new DateTime(2024, 3, 1);

        public StatementEndpoint(ILedger ledger) => this.ledger = ledger;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public long Handle(int account)
        {
            clock = clock.AddMilliseconds(7);
            var statement = Memo<StatementKey, Statement>.GetAsync(
                new StatementKey(account, clock), _ => ledger.ReadAsync(account));
            return statement.GetAwaiter().GetResult().Balance;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var endpoint = new StatementEndpoint(new SimulatedLedger());
            long requests = 0;
            void Serve(long n)
            {
                for (var i = 0; i < n; i++) endpoint.Handle((int)(requests++ % 700));
            }

            Serve(12_000);
            new ConsoleHost(() => new Report()
                    .Add("requests", requests)
                    .Add("memoized", Memo<StatementKey, Statement>.Count))
                .On("serve", Serve)
                .Run();
        }
    }
}
