// Exceptions are thrown and handled all the time, and none is kept
using System;
using Shop.Hosting;

namespace Acme.Well14
{
    internal static class Program
    {
        private static void Main()
        {
            int handled = 0;
            for (int i = 0; i < 15_000; i++)
            {
                try
                {
                    throw new FormatException("line " + i);
                }
                catch (FormatException)
                {
                    handled++;
                }
            }

            new ConsoleHost(() => new Report().Add("handled", handled)).Run();
        }
    }
}
