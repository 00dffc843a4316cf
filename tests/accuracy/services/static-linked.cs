// A hand-made linked list of everything that happened hangs on a static field
using System;
using Shop.Hosting;

namespace Acme.Audit
{
    internal sealed class Step
    {
        public Step Before;
        public string What;
        public long[] Values = new long[16];
    }

    internal static class History
    {
        private static Step last;
        private static int length;

        public static int Length => length;

        public static void Add(string what)
        {
            last = new Step { Before = last, What = what };
            length++;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(400_000); i++)
            {
                History.Add("step " + i);
            }

            new ConsoleHost(() => new Report().Add("steps", History.Length)).Run();
        }
    }
}
