// Every change of a room rate is noted "for the auditors", who never came, and nobody wrote the code that forgets
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Belmont.Reservations
{
    internal sealed class RateChange
    {
        public RateChange(DateTime at, decimal before, decimal after, string reason)
        {
            At = at;
            Before = before;
            After = after;
            Reason = reason;
        }

        public DateTime At { get; }
        public decimal Before { get; }
        public decimal After { get; }
        public string Reason { get; }
    }

    internal static class RateHistory
    {
        private static readonly Dictionary<string, List<RateChange>> ByRoom =
            new Dictionary<string, List<RateChange>>(StringComparer.OrdinalIgnoreCase);

        public static long Count { get; private set; }

        public static void Note(string room, RateChange change)
        {
            if (!ByRoom.TryGetValue(room, out List<RateChange> changes))
            {
                ByRoom.Add(room, changes = new List<RateChange>());
            }

            changes.Add(change);
            Count++;
        }
    }

    internal sealed class YieldManager
    {
        private readonly Dictionary<string, decimal> current = new Dictionary<string, decimal>();
        private readonly Random market = new Random(1898);
        private DateTime clock = new DateTime(2021, 5, 1);

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Reprice(long times)
        {
            for (long i = 0; i < times; i++)
            {
                clock = clock.AddSeconds(7);
                string room = "H" + market.Next(60) + "-" + market.Next(100, 180);
                if (!current.TryGetValue(room, out decimal before))
                {
                    before = 120m;
                }

                decimal after = Math.Max(45m, before + market.Next(-900, 1000) / 100m);
                current[room] = after;
                RateHistory.Note(room, new RateChange(clock, before, after, "occupancy " + market.Next(1_000_000) + " ppm"));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var manager = new YieldManager();
            manager.Reprice(250_000);
            new ConsoleHost(() => new Report().Add("changes", RateHistory.Count))
                .On("serve", manager.Reprice)
                .Run();
        }
    }
}
