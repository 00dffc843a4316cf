// A static cache without a bound, and threads that do not end
using System;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Acme.Pair1
{
    internal static class Rates
    {
        public static readonly Dictionary<int, double[]> ByDay = new Dictionary<int, double[]>();
    }

    internal static class Program
    {
        private static readonly ManualResetEvent Never = new ManualResetEvent(false);

        private static void Main()
        {
            for (int i = 0; i < 70_000; i++)
            {
                Rates.ByDay[i] = new double[200];
            }

            for (int i = 0; i < 600; i++)
            {
                new Thread(() => Never.WaitOne(), 256 * 1024) { IsBackground = true, Name = "rate feed" }.Start();
            }

            new ConsoleHost(() => new Report().Add("days", Rates.ByDay.Count)).Run();
        }
    }
}
