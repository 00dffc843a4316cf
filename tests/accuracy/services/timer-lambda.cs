// Every poll starts a timer with a lambda and drops it; the framework keeps it
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Polling
{
    internal sealed class Poller
    {
        private readonly string host;
        private readonly byte[] last = new byte[3_000];
        private Timer timer;

        public Poller(string host)
        {
            this.host = host;
            timer = new Timer(state => Poll(), this, 3_600_000, 3_600_000);
        }

        private void Poll() => last[0] = (byte)(host.Length + (timer == null ? 0 : 1));
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 15_000; i++)
            {
                new Poller("host-" + i);
            }

            new ConsoleHost(() => new Report().Add("pollers", 15_000)).Run();
        }
    }
}
