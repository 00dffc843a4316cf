// Every worker of the pool blocks on a task that needs a worker itself (sync over async).
using System;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Shop.Search
{
    internal static class Index
    {
        private static readonly ManualResetEventSlim Ready = new ManualResetEventSlim(false);

        public static void Look(string word)
        {
            Ready.Wait();
            GC.KeepAlive(word);
        }
    }

    internal static class Program
    {
        private const int Searches = 20_000;

        private static void Main()
        {
            for (int i = 0; i < Searches; i++)
            {
                string word = "word-" + i;
                Task.Run(() => Index.Look(word));
            }

            new ConsoleHost(() => new Report().Add("searches", Searches)).Run();
        }
    }
}
