// Hundreds of threads queue for a lock that its holder never releases
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Stock
{
    internal sealed class Stock
    {
        private readonly object gate = new object();
        private int count;

        public void Hold()
        {
            lock (gate)
            {
                Program.Held.Set();
                Thread.Sleep(Timeout.Infinite);
            }
        }

        public void Take()
        {
            lock (gate)
            {
                count--;
            }
        }
    }

    internal static class Program
    {
        public static readonly ManualResetEventSlim Held = new ManualResetEventSlim();

        private static void Main()
        {
            var stock = new Stock();
            new Thread(stock.Hold) { IsBackground = true, Name = "recount" }.Start();
            Held.Wait();
            for (int i = 0; i < 560; i++)
            {
                new Thread(stock.Take, 256 * 1024) { IsBackground = true }.Start();
            }

            Thread.Sleep(300);
            new ConsoleHost(() => new Report().Add("threads", 560)).Run();
        }
    }
}
