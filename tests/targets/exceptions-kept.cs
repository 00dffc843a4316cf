// Every failed order leaves its exception in a list that somebody may want to look at one day.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Errors
{
    internal sealed class ErrorLog
    {
        private readonly List<Exception> errors = new List<Exception>();

        public int Count => errors.Count;

        public void Keep(Exception error) => errors.Add(error);
    }

    internal static class Program
    {
        private const int Orders = 20_000;
        private static readonly ErrorLog Log = new ErrorLog();

        private static void Main()
        {
            for (int i = 0; i < Orders; i++)
            {
                try
                {
                    Place(i);
                }
                catch (InvalidOperationException error)
                {
                    Log.Keep(error);
                }
            }

            new ConsoleHost(() => new Report().Add("errors", Log.Count)).Run();
        }

        private static void Place(int order) =>
            throw new InvalidOperationException("order " + order + " is incomplete" + new string('.', 1_500));
    }
}
