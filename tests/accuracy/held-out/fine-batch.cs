// A batch of statements is made every hour: much is allocated, and all of it is let go
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Woodgrove.Statements
{
    public sealed class Transaction
    {
        public DateTime At;
        public decimal Amount;
        public string Text;
    }

    public sealed class StatementBatch
    {
        public long Run(int accounts)
        {
            long written = 0;
            foreach (var group in Enumerable.Range(0, accounts).GroupBy(a => a / 100))
            {
                using (var output = new MemoryStream())
                using (var writer = new StreamWriter(output))
                {
                    foreach (var account in group)
                    {
                        foreach (var t in Read(account).OrderBy(t => t.At))
                        {
                            writer.WriteLine("{0:yyyy-MM-dd} {1,12:N2} {2}", t.At, t.Amount, t.Text);
                        }
                    }

                    writer.Flush();
                    written += output.Length;
                }
            }

            return written;
        }

        private static List<Transaction> Read(int account)
        {
            var all = new List<Transaction>();
            for (int i = 0; i < 60; i++)
            {
                all.Add(new Transaction { At = new DateTime(2024, 1, 1).AddHours(i * 7 % 60), Amount = account * i % 977, Text = $"transfer {account}/{i}" });
            }

            return all;
        }
    }

    public static class Program
    {
        private static long written;

        public static void Main()
        {
            Batch(6_000);
            new ConsoleHost(() => new Report().Add("written", written)).On("batch", Batch).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Batch(long accounts) => written += new StatementBatch().Run((int)accounts);
    }
}
