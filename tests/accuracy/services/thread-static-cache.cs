// A [ThreadStatic] cache has the same entries once for each worker
using System;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Acme.Rates
{
    internal static class RateCache
    {
        [ThreadStatic]
        private static Dictionary<int, decimal[]> rates;

        public static void Fill()
        {
            rates = rates ?? new Dictionary<int, decimal[]>();
            for (int i = 0; i < 8_000; i++)
            {
                rates[i] = new decimal[30];
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var ready = new CountdownEvent(40);
            for (int i = 0; i < 40; i++)
            {
                var thread = new Thread(() =>
                {
                    RateCache.Fill();
                    ready.Signal();
                    Thread.Sleep(Timeout.Infinite);
                });
                thread.IsBackground = true;
                thread.Name = "worker";
                thread.Start();
            }

            ready.Wait();
            new ConsoleHost(() => new Report().Add("threads", 40)).Run();
        }
    }
}
