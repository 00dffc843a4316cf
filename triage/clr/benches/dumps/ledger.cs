// A heap of many small objects for benches: orders in chains, with strings, arrays and boxes of many types, and a free block for
// one entry in five. Says READY when it stands, then waits until its input closes.
using System;
using System.Globalization;
using System.Threading;

namespace Shop.Ledger
{
    internal class Entry
    {
        public Order Order;
        public long Cents;
    }

    internal sealed class Entry<T> : Entry
    {
        public T Detail;
    }

    internal sealed class Order
    {
        public Order Next;
        public string Code;
        public int[] Lines;
        public Entry Entry;
        public object Draft;
    }

    internal static class Program
    {
        private const int ChainLength = 1_000;
        private static Order[] chains;

        private static void Main(string[] arguments)
        {
            int orders = int.Parse(arguments[0], CultureInfo.InvariantCulture);
            chains = new Order[orders / ChainLength];
            Fill();
            // Everything moves into the oldest generation while all of it lives, so that nothing is compacted away later.
            GC.Collect();
            GC.Collect();
            Forget();
            int before = GC.CollectionCount(2);
            GC.Collect(2, GCCollectionMode.Forced, blocking: false);
            while (GC.CollectionCount(2) == before)
            {
                Thread.Sleep(50);
            }

            // The count rises before the sweep ends.
            Thread.Sleep(3_000);
            Console.WriteLine("READY {\"orders\":" + (chains.Length * ChainLength) + "}");
            Console.In.ReadLine();
        }

        private static void Fill()
        {
            uint dice = 12_345;
            for (int chain = 0; chain < chains.Length; chain++)
            {
                Order last = null;
                for (int i = 0; i < ChainLength; i++)
                {
                    // The runtime's own source of chance differs between versions.
                    dice = dice * 1_664_525 + 1_013_904_223;
                    last = New(last, dice >> 8);
                }

                chains[chain] = last;
            }
        }

        private static Order New(Order next, uint chance)
        {
            var order = new Order { Next = next, Code = new string('a', (int)(chance % 9) + 1) };
            order.Lines = new int[chance / 9 % 7];
            order.Draft = (chance / 63 % 2) == 0 ? new byte[chance / 126 % 16] : (object)new long[chance / 126 % 4];
            order.Entry = NewEntry(chance / 504 % 16);
            order.Entry.Cents = chance;
            order.Entry.Order = order;
            return order;
        }

        private static Entry NewEntry(uint kind)
        {
            switch (kind)
            {
                case 0: return new Entry<int>();
                case 1: return new Entry<long>();
                case 2: return new Entry<byte>();
                case 3: return new Entry<char>();
                case 4: return new Entry<DateTime>();
                case 5: return new Entry<decimal>();
                case 6: return new Entry<Guid>();
                case 7: return new Entry<object>();
                case 8: return new Entry<string>();
                case 9: return new Entry<TimeSpan>();
                case 10: return new Entry<double>();
                case 11: return new Entry<float>();
                case 12: return new Entry<short>();
                case 13: return new Entry<bool>();
                default: return new Entry();
            }
        }

        private static void Forget()
        {
            foreach (Order chain in chains)
            {
                for (Order order = chain; order != null; order = order.Next)
                {
                    order.Draft = null;
                }
            }
        }
    }
}
