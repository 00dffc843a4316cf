// HttpClients that are not shared, and calls that wait for ever
using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Pair7
{
    internal sealed class Partner
    {
        private readonly List<HttpClient> clients = new List<HttpClient>();
        private readonly List<TaskCompletionSource<int>> open = new List<TaskCompletionSource<int>>();

        public int Count => clients.Count;

        public async Task Ask(int number)
        {
            var request = new byte[2_500];
            var answer = new TaskCompletionSource<int>();
            open.Add(answer);
            if (number % 20 == 0)
            {
                clients.Add(new HttpClient());
            }

            await answer.Task;
            GC.KeepAlive(request);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var partner = new Partner();
            for (int i = 0; i < 18_000; i++)
            {
                _ = partner.Ask(i);
            }

            new ConsoleHost(() => new Report().Add("clients", partner.Count)).Run();
            GC.KeepAlive(partner);
        }
    }
}
