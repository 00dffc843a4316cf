// Failures are collected with their exceptions for a report that nobody asks for
using System;
using System.Collections.Concurrent;
using Shop.Hosting;

namespace Acme.Sync
{
    internal sealed class SyncException : Exception
    {
        public SyncException(string message, Exception inner)
            : base(message, inner)
        {
        }
    }

    internal sealed class Failures
    {
        private readonly ConcurrentBag<Exception> all = new ConcurrentBag<Exception>();

        public int Count => all.Count;

        public void Try(int i)
        {
            try
            {
                Fail(i, 5);
            }
            catch (InvalidOperationException error)
            {
                all.Add(new SyncException("record " + i + " was not synchronised", error));
            }
        }

        private static void Fail(int i, int depth)
        {
            if (depth > 0)
            {
                Fail(i, depth - 1);
            }

            throw new InvalidOperationException("record " + i);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var failures = new Failures();
            for (int i = 0; i < 12_000; i++)
            {
                failures.Try(i);
            }

            new ConsoleHost(() => new Report().Add("failures", failures.Count)).Run();
            GC.KeepAlive(failures);
        }
    }
}
