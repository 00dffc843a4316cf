// A foreground thread for every tenant waits for ever
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Tenants
{
    internal sealed class Tenant
    {
        private readonly ManualResetEvent wake = new ManualResetEvent(false);

        public void Start() => new Thread(Serve, 256 * 1024) { Name = "tenant" }.Start();

        private void Serve() => wake.WaitOne();
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 620; i++)
            {
                new Tenant().Start();
            }

            new ConsoleHost(() => new Report().Add("tenants", 620)).Run();
        }
    }
}
