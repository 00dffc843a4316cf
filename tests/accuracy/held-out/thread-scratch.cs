// Short-lived threads leave their scratch memory behind in a ThreadLocal that tracks all values
using System;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Proseware.Reports
{
    public sealed class Scratch
    {
        public readonly char[] Buffer = new char[30_000];
        public readonly List<string> Warnings = new List<string>();
    }

    public static class ReportWriter
    {
        private static readonly ThreadLocal<Scratch> scratch = new ThreadLocal<Scratch>(() => new Scratch(), trackAllValues: true);

        public static int Warnings
        {
            get
            {
                var sum = 0;
                foreach (var each in scratch.Values)
                {
                    sum += each.Warnings.Count;
                }

                return sum;
            }
        }

        public static void Write(int report)
        {
            var buffer = scratch.Value.Buffer;
            for (int i = 0; i < buffer.Length; i++)
            {
                buffer[i] = (char)('a' + (report + i) % 26);
            }
        }
    }

    public static class Program
    {
        public static void Main()
        {
            for (int report = 0; report < 2_000; report++)
            {
                var number = report;
                var thread = new Thread(() => ReportWriter.Write(number));
                thread.Start();
                thread.Join();
            }

            new ConsoleHost(() => new Report().Add("warnings", ReportWriter.Warnings)).Run();
        }
    }
}
