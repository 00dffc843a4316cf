// A basket service that counts in the three ways of EventCounters, and knows whether anybody listens: what a reader of counters
// must see, and what it must leave behind.
using System;
using System.Diagnostics.Tracing;
using System.Threading;
using Shop.Hosting;

namespace Shop.Metering
{
    [EventSource(Name = "Shop-Baskets")]
    internal sealed class BasketMeter : EventSource
    {
        public static readonly BasketMeter Log = new BasketMeter();

        private static long waiting;
        private static long sold;

        private readonly object gate = new object();
        private EventCounter size;
        private PollingCounter queue;
        private PollingCounter share;
        private IncrementingEventCounter orders;
        private IncrementingPollingCounter articles;
        private int enabled;
        private int disabled;

        public int TimesEnabled => Volatile.Read(ref enabled);

        public int TimesDisabled => Volatile.Read(ref disabled);

        public long Waiting
        {
            get => Interlocked.Read(ref waiting);
            set => Interlocked.Exchange(ref waiting, value);
        }

        /// <summary>A basket was paid: its size in lines, once; its articles one by one.</summary>
        public void Sell(long lines)
        {
            Interlocked.Add(ref sold, lines);
            size?.WriteMetric(lines);
            orders?.Increment();
        }

        protected override void OnEventCommand(EventCommandEventArgs command)
        {
            if (command.Command == EventCommand.Enable)
            {
                lock (gate)
                {
                    size = size ?? new EventCounter("basket-size", this) { DisplayName = "Size of a basket", DisplayUnits = "lines" };
                    queue = queue ?? new PollingCounter("queue-length", this, () => Waiting) { DisplayName = "Baskets that wait" };
                    share = share ?? new PollingCounter("paid/share", this, () => 0.25);
                    orders = orders ?? new IncrementingEventCounter("orders", this) { DisplayRateTimeScale = TimeSpan.FromMinutes(1) };
                    articles = articles ?? new IncrementingPollingCounter("articles", this, () => Interlocked.Read(ref sold));
                }

                Interlocked.Increment(ref enabled);
            }
            else if (command.Command == EventCommand.Disable)
            {
                Interlocked.Increment(ref disabled);
            }
        }
    }

    internal static class Program
    {
        private static int selling = 5;

        private static void Main()
        {
            BasketMeter meter = BasketMeter.Log;
            meter.Waiting = 3;
            // The counters are made when somebody listens, as libraries do; the source is there from the start.
            var till = new Thread(Sell) { IsBackground = true, Name = "till" };
            till.Start();
            new ConsoleHost(Describe)
                .On("wait", baskets => meter.Waiting = baskets)
                .On("sell", perSecond => Volatile.Write(ref selling, (int)perSecond))
                .Run();
        }

        /// <summary>So many baskets of four lines a second.</summary>
        private static void Sell()
        {
            while (true)
            {
                int perSecond = Math.Max(1, Volatile.Read(ref selling));
                Thread.Sleep(1000 / perSecond);
                BasketMeter.Log.Sell(4);
            }
        }

        private static Report Describe() => new Report()
            .Add("runtime", Gauge.Runtime())
            .Add("waiting", BasketMeter.Log.Waiting)
            .Add("selling", Volatile.Read(ref selling))
            .Add("is_enabled", BasketMeter.Log.IsEnabled())
            .Add("times_enabled", BasketMeter.Log.TimesEnabled)
            .Add("times_disabled", BasketMeter.Log.TimesDisabled)
            .Add("processor_ms", (long)System.Diagnostics.Process.GetCurrentProcess().TotalProcessorTime.TotalMilliseconds);
    }
}
