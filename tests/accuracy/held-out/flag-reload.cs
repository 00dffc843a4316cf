// Scoped flag snapshots ask to be told when the flags reload; flags reload once a quarter
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Fourthcoffee.Flags
{
    internal interface IReloadToken
    {
        bool HasChanged { get; }

        IDisposable OnChange(Action<object> callback, object state);
    }

    internal sealed class ReloadToken : IReloadToken
    {
        private readonly CancellationTokenSource source = new CancellationTokenSource();

        public bool HasChanged => source.IsCancellationRequested;

        public IDisposable OnChange(Action<object> callback, object state) => source.Token.Register(callback, state);

        public void Fire() => source.Cancel();
    }

    internal sealed class FlagProvider
    {
        private ReloadToken token = new ReloadToken();

        public int Version { get; private set; } = 1;

        public IReloadToken Token => token;

        public void Reload()
        {
            Version++;
            Interlocked.Exchange(ref token, new ReloadToken()).Fire();
        }

        public bool Evaluate(int flag, int user) => (flag * 31 + user * 17 + Version) % 3 == 0;
    }

    /// <summary>What one request sees: flags do not change halfway.</summary>
    internal sealed class FlagSnapshot
    {
        private static readonly Action<object> Stale = state => ((FlagSnapshot)state).IsStale = true;
        private readonly double[] weights = new double[96];
        private readonly ulong[] bits = new ulong[8];

        public FlagSnapshot(FlagProvider provider, int user)
        {
            for (int flag = 0; flag < bits.Length * 64; flag++)
            {
                if (provider.Evaluate(flag, user))
                {
                    bits[flag / 64] |= 1UL << flag;
                }
            }

            weights[user % weights.Length] = 1;
            // What this returns would have to be disposed with the scope.
            provider.Token.OnChange(Stale, this);
        }

        public bool IsStale { get; private set; }

        public bool this[int flag] => (bits[flag / 64] & (1UL << flag)) != 0;
    }

    internal readonly struct Scope
    {
        public Scope(FlagSnapshot flags) => Flags = flags;

        public FlagSnapshot Flags { get; }
    }

    internal sealed class Checkout
    {
        private readonly Func<int, Scope> begin;
        private readonly SortedDictionary<int, int> hits = new SortedDictionary<int, int>();

        public Checkout(Func<int, Scope> begin) => this.begin = begin;

        public int Requests { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Handle(long count)
        {
            for (long i = 0; i < count; i++)
            {
                Scope scope = begin(Requests++);
                int flag = Requests % 512;
                if (scope.Flags[flag])
                {
                    hits[flag] = hits.TryGetValue(flag, out int n) ? n + 1 : 1;
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var provider = new FlagProvider();
            var checkout = new Checkout(user => new Scope(new FlagSnapshot(provider, user)));
            checkout.Handle(50_000);
            new ConsoleHost(() => new Report().Add("requests", checkout.Requests).Add("version", provider.Version))
                .On("serve", checkout.Handle)
                .On("reload", _ => provider.Reload())
                .Run();
        }
    }
}
