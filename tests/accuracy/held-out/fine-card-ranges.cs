// The card schemes' table of number ranges: large, read from a file once at start, and looked into for every payment
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Tollgate.Terminals
{
    internal struct CardRange
    {
        public ulong First;
        public ulong Last;
        public string Issuer;
        public short Country;
        public byte Scheme;
        public bool Debit;
    }

    internal sealed class RangeTable
    {
        private readonly CardRange[] ranges;

        private RangeTable(CardRange[] ranges) => this.ranges = ranges;

        public int Length => ranges.Length;

        public static RangeTable Load(int count)
        {
            var ranges = new CardRange[count];
            ulong number = 4_000_000_000_000_000;
            for (int i = 0; i < count; i++)
            {
                ranges[i] = new CardRange
                {
                    First = number,
                    Last = number + 9_999,
                    Issuer = "Bank " + i.ToString("x"),
                    Country = (short)(i % 249),
                    Scheme = (byte)(i % 5),
                    Debit = i % 3 == 0,
                };
                number += 10_000;
            }

            return new RangeTable(ranges);
        }

        public ref readonly CardRange Find(ulong card)
        {
            int low = 0;
            int high = ranges.Length - 1;
            while (low <= high)
            {
                int middle = (low + high) >> 1;
                if (card < ranges[middle].First)
                {
                    high = middle - 1;
                }
                else if (card > ranges[middle].Last)
                {
                    low = middle + 1;
                }
                else
                {
                    return ref ranges[middle];
                }
            }

            throw new KeyNotFoundException("no scheme for " + card);
        }
    }

    internal sealed class Gateway
    {
        private readonly RangeTable table = RangeTable.Load(650_000);
        private readonly long[] byScheme = new long[5];
        private readonly Random shoppers = new Random(16);

        public int Ranges => table.Length;

        public long Payments { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Authorise(long payments)
        {
            for (long i = 0; i < payments; i++)
            {
                ulong card = 4_000_000_000_000_000 + (ulong)shoppers.Next(650_000) * 10_000 + (ulong)shoppers.Next(10_000);
                ref readonly CardRange range = ref table.Find(card);
                string slip = "APPROVED " + range.Issuer + (range.Debit ? " debit *" : " credit *") + card % 10_000;
                byScheme[range.Scheme] += slip.Length;
                Payments++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var gateway = new Gateway();
            gateway.Authorise(5_000);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("ranges", gateway.Ranges).Add("payments", gateway.Payments))
                .On("serve", gateway.Authorise)
                .Run();
        }
    }
}
