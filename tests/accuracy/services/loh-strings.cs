// Large strings are built and dropped between small survivors
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Exports
{
    internal static class Exports
    {
        private static readonly List<string> Headers = new List<string>();

        public static int Count => Headers.Count;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public static void Run(int count)
        {
            var bodies = new Queue<string>();
            for (int i = 0; i < count; i++)
            {
                bodies.Enqueue(new string('x', 300_000));
                Headers.Add(new string((char)('a' + i % 20), 45_000));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            Exports.Run(350);
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("headers", Exports.Count).Add("gc", Gauge.Heap())).Run();
        }
    }
}
