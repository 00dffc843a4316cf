// Messages are parsed under server GC with a large budget for new objects, and only the last minute of them is kept
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Trey.Ingest
{
    public readonly struct Sample
    {
        public Sample(int sensor, double value, DateTime at) { Sensor = sensor; Value = value; At = at; }
        public int Sensor { get; }
        public double Value { get; }
        public DateTime At { get; }
    }

    public class Parser
    {
        public List<Sample> Parse(string message)
        {
            var samples = new List<Sample>();
            foreach (var line in message.Split('\n').Where(l => l.Length > 0))
            {
                var parts = line.Split(';');
                samples.Add(new Sample(int.Parse(parts[0].Substring("sensor-".Length)), double.Parse(parts[1], CultureInfo.InvariantCulture), new DateTime(long.Parse(parts[2]))));
            }

            return samples;
        }
    }

    public class Window
    {
        private readonly LinkedList<List<Sample>> last = new LinkedList<List<Sample>>();

        public double Average => last.Count == 0 ? 0 : last.SelectMany(s => s).Average(s => s.Value);

        public int Batches => last.Count;

        public void Add(List<Sample> batch)
        {
            lock (last)
            {
                last.AddLast(batch);
                if (last.Count > 6_000)
                {
                    last.RemoveFirst();
                }
            }
        }
    }

    public static class Program
    {
        private static readonly Window Recent = new Window();

        public static void Main()
        {
            Ingest(40_000);
            new ConsoleHost(() => new Report().Add("batches", Recent.Batches)).On("ingest", Ingest).Run();
        }

        private static void Ingest(long messages)
        {
            Parallel.For(0, 4, worker =>
            {
                var parser = new Parser();
                for (long i = worker; i < messages; i += 4)
                {
                    var text = string.Join("\n", Enumerable.Range(0, 30).Select(n => $"sensor-{n};{(i * n % 977).ToString(CultureInfo.InvariantCulture)}.5;{i * 1_000 + n}"));
                    Recent.Add(parser.Parse(text));
                }
            });
        }
    }
}
