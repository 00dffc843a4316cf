// A loop collects results in a local variable and never looks at the old ones
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Import
{
    internal sealed class Result
    {
        public int Line;
        public string Text;
        public byte[] Raw = new byte[900];
    }

    internal sealed class Importer
    {
        private readonly List<Result> results = new List<Result>();

        public int Count => results.Count;

        public void Import(long lines)
        {
            for (long i = 0; i < lines; i++)
            {
                results.Add(new Result { Line = results.Count, Text = "line " + i });
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var importer = new Importer();
            importer.Import(Gauge.Scaled(60_000));
            new ConsoleHost(() => new Report().Add("results", importer.Count)).On("grow", importer.Import).Run();
            GC.KeepAlive(importer);
        }
    }
}
