// A monthly run builds all statements, they grow old, they are dropped, and then nothing happens any more.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Shop.Statements
{
    internal sealed class Statement
    {
        public string Customer;
        public List<string> Bookings;
        public byte[] Document;
    }

    internal sealed class MonthlyRun
    {
        private readonly Dictionary<string, Statement> statements = new Dictionary<string, Statement>();

        public long Build(int customers)
        {
            for (int i = 0; i < customers; i++)
            {
                var statement = new Statement
                {
                    Customer = "customer-" + i,
                    Bookings = new List<string> { "booking-" + i, "booking-" + (i + 1) },
                    Document = new byte[6_000],
                };
                for (int j = 0; j < statement.Document.Length; j += 128)
                {
                    statement.Document[j] = (byte)(i + j);
                }

                statements.Add(statement.Customer, statement);
            }

            return statements.Count;
        }
    }

    internal static class Program
    {
        private const int Customers = 50_000;
        private static long printed;

        private static void Main()
        {
            RunMonth();
            new ConsoleHost(() => new Report()
                    .Add("statements_printed", printed)
                    .Add("least_garbage_bytes", Customers * 6_000L)
                    .Add("gen2_collections", GC.CollectionCount(2)))
                .Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void RunMonth()
        {
            var run = new MonthlyRun();
            printed = run.Build(Customers);

            // Twice: everything is in the oldest generation while it is still alive.
            Gauge.Collect();
            Gauge.Collect();
            GC.KeepAlive(run);
        }
    }
}
