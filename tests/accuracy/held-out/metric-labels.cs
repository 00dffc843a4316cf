// Every sample of a metric carries freshly built copies of the same few labels
using System;
using System.Collections.Generic;
using System.Text;
using Shop.Hosting;

namespace AdventureWorks.Monitoring
{
    public struct Label
    {
        public string Name;
        public string Value;
    }

    public sealed class Sample
    {
        public string Metric;
        public Label[] Labels;
        public double Value;
        public long Time;
    }

    public sealed class Exporter
    {
        private readonly List<Sample> window = new List<Sample>();

        public int Count => window.Count;

        public void Parse(string line)
        {
            var open = line.IndexOf('{');
            var close = line.IndexOf('}');
            var pairs = line.Substring(open + 1, close - open - 1).Split(',');
            var labels = new Label[pairs.Length];
            for (var i = 0; i < pairs.Length; i++)
            {
                var pair = pairs[i].Split('=');
                labels[i] = new Label { Name = pair[0], Value = pair[1].Trim('"') };
            }

            window.Add(new Sample
            {
                Metric = line.Substring(0, open),
                Labels = labels,
                Value = double.Parse(line.Substring(close + 2)),
                Time = window.Count,
            });
        }
    }

    public static class Program
    {
        public static void Main()
        {
            var exporter = new Exporter();
            var line = new StringBuilder();
            for (int i = 0; i < 250_000; i++)
            {
                line.Clear();
                line.Append("http_server_request_duration_seconds{service=\"checkout\",instance=\"node-").Append(i % 6)
                    .Append("\",method=\"GET\",route=\"/api/v1/basket\",status=\"200\"} ").Append(i % 100);
                exporter.Parse(line.ToString());
            }

            new ConsoleHost(() => new Report().Add("samples", exporter.Count)).Run();
            GC.KeepAlive(exporter);
        }
    }
}
