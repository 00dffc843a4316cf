// Pool threads wait synchronously for work that itself needs a pool thread
using System;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Reports
{
    internal sealed class Reports
    {
        private readonly ManualResetEventSlim database = new ManualResetEventSlim();

        public void Ask(int count)
        {
            for (int i = 0; i < count; i++)
            {
                byte[] report = new byte[500];
                ThreadPool.QueueUserWorkItem(state =>
                {
                    Task.Run(() => database.Wait()).Wait();
                    report[0]++;
                });
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var reports = new Reports();
            reports.Ask(9_000);
            Thread.Sleep(500);
            new ConsoleHost(() => new Report().Add("reports", 9_000)).Run();
            GC.KeepAlive(reports);
        }
    }
}
