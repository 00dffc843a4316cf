// One actor never finishes its start; its mailbox takes every trade in the meantime
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Northwind.Clearing
{
    internal abstract class Message
    {
        public long Sequence;
    }

    internal sealed class TradeDone : Message
    {
        public string Instrument;
        public decimal Price;
        public int Quantity;
        public Guid Buyer;
        public Guid Seller;
    }

    internal sealed class Tick : Message
    {
    }

    internal abstract class Actor
    {
        private readonly Channel<Message> mailbox =
            Channel.CreateUnbounded<Message>(new UnboundedChannelOptions { SingleReader = true });

        public long Handled { get; private set; }

        public void Tell(Message message) => mailbox.Writer.TryWrite(message);

        public async Task RunAsync()
        {
            await StartAsync().ConfigureAwait(false);
            while (await mailbox.Reader.WaitToReadAsync().ConfigureAwait(false))
            {
                while (mailbox.Reader.TryRead(out Message message))
                {
                    await ReceiveAsync(message).ConfigureAwait(false);
                    Handled++;
                }
            }
        }

        protected virtual Task StartAsync() => Task.CompletedTask;

        protected abstract ValueTask ReceiveAsync(Message message);
    }

    internal sealed class PositionActor : Actor
    {
        private readonly Dictionary<string, decimal> positions = new Dictionary<string, decimal>();

        protected override ValueTask ReceiveAsync(Message message)
        {
            if (message is TradeDone trade)
            {
                positions.TryGetValue(trade.Instrument, out decimal now);
                positions[trade.Instrument] = now + trade.Quantity;
            }

            return default;
        }
    }

    internal sealed class SettlementActor : Actor
    {
        private readonly Task logon;

        public SettlementActor(Task logon) => this.logon = logon;

        // The central counterparty does not answer today, and nobody thought of a timeout.
        protected override Task StartAsync() => logon;

        protected override ValueTask ReceiveAsync(Message message) => default;
    }

    internal sealed class Exchange
    {
        private static readonly string[] Instruments = { "FDAX", "FESX", "FGBL", "FGBM", "OGBL" };
        private readonly List<Actor> actors = new List<Actor>();
        private readonly Random random = new Random(7);
        private long sequence;

        public long Sequence => sequence;

        public Exchange Host(Actor actor)
        {
            actors.Add(actor);
            _ = actor.RunAsync();
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Trade(long count)
        {
            for (long i = 0; i < count; i++)
            {
                Message message;
                if (random.Next(10) == 0)
                {
                    message = new Tick { Sequence = sequence++ };
                }
                else
                {
                    message = new TradeDone
                    {
                        Sequence = sequence++,
                        Instrument = Instruments[random.Next(Instruments.Length)],
                        Price = random.Next(9_000, 18_000) / 2m,
                        Quantity = random.Next(-50, 50),
                        Buyer = Guid.NewGuid(),
                        Seller = Guid.NewGuid(),
                    };
                }

                foreach (Actor actor in actors) actor.Tell(message);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var logon = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            var positions = new PositionActor();
            var settlement = new SettlementActor(logon.Task);
            var exchange = new Exchange().Host(positions).Host(settlement);
            exchange.Trade(600_000);
            new ConsoleHost(() => new Report()
                    .Add("sequence", exchange.Sequence)
                    .Add("positions_handled", positions.Handled)
                    .Add("settlement_handled", settlement.Handled))
                .On("serve", exchange.Trade)
                .On("logon", _ => logon.TrySetResult(true))
                .Run();
        }
    }
}
