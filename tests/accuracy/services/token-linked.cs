// Every request links a token source to the token of the application and does not dispose it
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Gateway
{
    internal sealed class Request
    {
        private readonly CancellationTokenSource timeout;
        private readonly byte[] body = new byte[1_000];

        public Request(CancellationToken stopping)
        {
            timeout = CancellationTokenSource.CreateLinkedTokenSource(stopping);
            timeout.Token.Register(() => body[0] = 1);
        }
    }

    internal static class Program
    {
        private static readonly CancellationTokenSource Stopping = new CancellationTokenSource();

        private static void Main()
        {
            for (int i = 0; i < 25_000; i++)
            {
                new Request(Stopping.Token);
            }

            new ConsoleHost(() => new Report().Add("requests", 25_000)).Run();
        }
    }
}
