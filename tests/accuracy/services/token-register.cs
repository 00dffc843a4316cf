// Jobs register a callback on a token that lives as long as the process
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Jobs
{
    internal sealed class Job
    {
        private readonly int[] plan = new int[500];

        public Job(CancellationToken shutdown)
        {
            shutdown.Register(Stop);
        }

        private void Stop() => plan[0] = -1;
    }

    internal static class Program
    {
        private static void Main()
        {
            var shutdown = new CancellationTokenSource();
            for (int i = 0; i < 20_000; i++)
            {
                new Job(shutdown.Token);
            }

            new ConsoleHost(() => new Report().Add("jobs", 20_000)).Run();
            GC.KeepAlive(shutdown);
        }
    }
}
