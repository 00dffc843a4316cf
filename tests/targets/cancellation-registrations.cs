// Every request registers for the shutdown of the process and does not take the registration back.
using System;
using System.Threading;
using Shop.Hosting;

namespace Shop.Gateway
{
    internal sealed class Lifetime
    {
        private readonly CancellationTokenSource stopping = new CancellationTokenSource();

        public CancellationToken Stopping => stopping.Token;
    }

    internal sealed class Request
    {
        private readonly byte[] body = new byte[3_000];

        public void Begin(CancellationToken stopping) => stopping.Register(Abort);

        private void Abort() => body[0] = 1;
    }

    internal static class Program
    {
        private const int Requests = 30_000;
        private static readonly Lifetime Lifetime = new Lifetime();

        private static void Main()
        {
            for (int i = 0; i < Requests; i++)
            {
                new Request().Begin(Lifetime.Stopping);
            }

            new ConsoleHost(() => new Report().Add("requests", Requests)).Run();
        }
    }
}
