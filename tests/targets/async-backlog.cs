// Reservations wait for an answer of the warehouse that never comes, without a timeout.
using System;
using System.Collections.Generic;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Shop.Stock
{
    internal sealed class Warehouse
    {
        private readonly List<TaskCompletionSource<bool>> asked = new List<TaskCompletionSource<bool>>();

        public Task<bool> Ask(string article)
        {
            var answer = new TaskCompletionSource<bool>();
            asked.Add(answer);
            return answer.Task;
        }
    }

    internal sealed class Reservations
    {
        private readonly Warehouse warehouse = new Warehouse();

        public async Task ReserveAsync(int number)
        {
            var form = new byte[2_000];
            string article = "article-" + number;
            if (await warehouse.Ask(article))
            {
                form[0] = (byte)article.Length;
            }

            GC.KeepAlive(form);
        }
    }

    internal static class Program
    {
        private const int Calls = 40_000;
        private static readonly Reservations Reservations = new Reservations();

        private static void Main()
        {
            for (int i = 0; i < Calls; i++)
            {
                _ = Reservations.ReserveAsync(i);
            }

            new ConsoleHost(() => new Report().Add("calls", Calls)).Run();
        }
    }
}
