// A queue that nobody empties, and exceptions that are kept
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Pair6
{
    internal sealed class Work
    {
        public byte[] Data = new byte[600];
    }

    internal sealed class Worker
    {
        private readonly Queue<Work> todo = new Queue<Work>();
        private readonly List<Exception> errors = new List<Exception>();

        public int Count => todo.Count + errors.Count;

        public void Fill()
        {
            for (int i = 0; i < 130_000; i++)
            {
                todo.Enqueue(new Work());
            }

            for (int i = 0; i < 10_000; i++)
            {
                try
                {
                    throw new TimeoutException("attempt " + i + " took too long; " + new string('.', 300));
                }
                catch (TimeoutException error)
                {
                    errors.Add(error);
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var worker = new Worker();
            worker.Fill();
            new ConsoleHost(() => new Report().Add("count", worker.Count)).Run();
            GC.KeepAlive(worker);
        }
    }
}
