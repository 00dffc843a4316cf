// A fixed pool of eighty threads waits for work
using System;
using System.Collections.Concurrent;
using System.Threading;
using Shop.Hosting;

namespace Acme.Well11
{
    internal static class Program
    {
        private static readonly BlockingCollection<int> Work = new BlockingCollection<int>(1_000);

        private static void Main()
        {
            long done = 0;
            for (int i = 0; i < 80; i++)
            {
                var thread = new Thread(() =>
                {
                    foreach (int item in Work.GetConsumingEnumerable())
                    {
                        Interlocked.Add(ref done, 1 + item * 0);
                    }
                });
                thread.IsBackground = true;
                thread.Name = "worker " + i;
                thread.Start();
            }

            for (int i = 0; i < 100_000; i++)
            {
                Work.Add(i);
            }

            new ConsoleHost(() => new Report().Add("done", Interlocked.Read(ref done))).Run();
        }
    }
}
