// Chat connections unsubscribe with a new lambda, which is not the one they subscribed with
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Wingtip.Chat
{
    internal enum Presence { Away, Online, Typing }

    internal readonly struct PresenceChange
    {
        public readonly Guid User;
        public readonly Presence Now;

        public PresenceChange(Guid user, Presence now)
        {
            User = user;
            Now = now;
        }
    }

    internal delegate ValueTask AsyncHandler<T>(T change, CancellationToken stop) where T : struct;

    internal sealed class PresenceBus
    {
        public event AsyncHandler<PresenceChange> Changed;

        public int Listeners => Changed?.GetInvocationList().Length ?? 0;

        public async Task PublishAsync(PresenceChange change, CancellationToken stop)
        {
            foreach (AsyncHandler<PresenceChange> handler in Changed?.GetInvocationList() ?? Array.Empty<Delegate>())
            {
                await handler(change, stop).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Just enough of a container: one instance of each service.</summary>
    internal sealed class Services
    {
        private readonly Dictionary<Type, Lazy<object>> singletons = new Dictionary<Type, Lazy<object>>();

        public Services AddSingleton<T>(Func<Services, T> factory) where T : class
        {
            singletons[typeof(T)] = new Lazy<object>(() => factory(this));
            return this;
        }

        public T Get<T>() where T : class => (T)singletons[typeof(T)].Value;
    }

    internal abstract class Connection : IDisposable
    {
        protected readonly byte[] SendWindow;
        protected readonly Guid User = Guid.NewGuid();

        protected Connection(int window) => SendWindow = new byte[window];

        public abstract void Dispose();
    }

    internal sealed class WebSocketConnection : Connection
    {
        private readonly PresenceBus bus;
        private int written;

        public WebSocketConnection(PresenceBus bus) : base(8 * 1024)
        {
            this.bus = bus;
            bus.Changed += (change, stop) => OnPresenceAsync(change, stop);
        }

        public override void Dispose()
        {
            // The compiler makes another method of this lambda, so nothing is removed.
            bus.Changed -= (change, stop) => OnPresenceAsync(change, stop);
        }

        private ValueTask OnPresenceAsync(PresenceChange change, CancellationToken stop)
        {
            stop.ThrowIfCancellationRequested();
            SendWindow[written++ % SendWindow.Length] = (byte)change.Now;
            return default;
        }
    }

    internal sealed class ChatServer
    {
        private readonly Services services;

        public ChatServer(Services services) => this.services = services;

        public long Closed { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void ComeAndGo(long visitors)
        {
            for (long i = 0; i < visitors; i++)
            {
                using (new WebSocketConnection(services.Get<PresenceBus>()))
                {
                    Closed++;
                }
            }
        }
    }

    internal static class Program
    {
        private static async Task Main()
        {
            var services = new Services()
                .AddSingleton(_ => new PresenceBus())
                .AddSingleton(all => new ChatServer(all));
            var server = services.Get<ChatServer>();
            server.ComeAndGo(7_000);
            var bus = services.Get<PresenceBus>();
            await bus.PublishAsync(new PresenceChange(Guid.NewGuid(), Presence.Online), CancellationToken.None);
            new ConsoleHost(() => new Report().Add("closed", server.Closed).Add("listeners", bus.Listeners))
                .On("serve", server.ComeAndGo)
                .Run();
        }
    }
}
