// A ledger appends every posting to a static list
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Billing
{
    internal sealed class Posting
    {
        public long Number;
        public decimal Amount;
        public string Account;
        public int[] Dimensions;
    }

    internal static class Ledger
    {
        private static readonly List<Posting> postings = new List<Posting>();

        public static int Count => postings.Count;

        public static void Post(decimal amount)
        {
            postings.Add(new Posting
            {
                Number = postings.Count,
                Amount = amount,
                Account = "account " + postings.Count,
                Dimensions = new int[24],
            });
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(350_000); i++)
            {
                Ledger.Post(i / 100m);
            }

            new ConsoleHost(() => new Report().Add("postings", Ledger.Count)).Run();
        }
    }
}
