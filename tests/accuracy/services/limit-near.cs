// Sessions that are all needed fill the heap to its limit
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Seats
{
    internal sealed class Seat
    {
        public int Number;
        public byte[] View = new byte[7_000];
    }

    internal sealed class Hall
    {
        private readonly SortedDictionary<int, Seat> seats = new SortedDictionary<int, Seat>();

        public int Count => seats.Count;

        public void Sell(int count)
        {
            for (int i = 0; i < count; i++)
            {
                seats.Add(i, new Seat { Number = i });
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var hall = new Hall();
            hall.Sell(26_000);
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("seats", hall.Count)).Run();
            GC.KeepAlive(hall);
        }
    }
}
