// Payments wait for confirmations that the provider never sends
using System;
using System.Collections.Generic;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Payments
{
    internal sealed class Gateway
    {
        private readonly Dictionary<int, TaskCompletionSource<bool>> waiting = new Dictionary<int, TaskCompletionSource<bool>>();

        public int Count => waiting.Count;

        public async Task Pay(int number)
        {
            var receipt = new byte[2_000];
            var source = new TaskCompletionSource<bool>();
            waiting.Add(number, source);
            await source.Task;
            receipt[0] = 1;
            GC.KeepAlive(receipt);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var gateway = new Gateway();
            for (int i = 0; i < 20_000; i++)
            {
                _ = gateway.Pay(i);
            }

            new ConsoleHost(() => new Report().Add("payments", gateway.Count)).Run();
            GC.KeepAlive(gateway);
        }
    }
}
