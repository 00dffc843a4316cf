// A thousand requests in flight, each with its timeout and its timer
using System;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Well13
{
    internal static class Program
    {
        private static readonly CancellationTokenSource Stopping = new CancellationTokenSource();

        private static async Task Serve(byte[] body)
        {
            using (var timeout = CancellationTokenSource.CreateLinkedTokenSource(Stopping.Token))
            {
                timeout.CancelAfter(TimeSpan.FromMinutes(30));
                await Task.Delay(TimeSpan.FromMinutes(20), timeout.Token);
                body[0]++;
            }
        }

        private static void Main()
        {
            for (int i = 0; i < 1_000; i++)
            {
                _ = Serve(new byte[8_000]);
            }

            new ConsoleHost(() => new Report().Add("requests", 1_000)).Run();
        }
    }
}
