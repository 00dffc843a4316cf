// What every target shares: it says READY with a report about itself, then obeys commands until its input closes.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Text;

namespace Shop.Hosting
{
    /// <summary>A JSON object that is written in the order of the calls.</summary>
    internal sealed class Report
    {
        private readonly StringBuilder text = new StringBuilder("{");

        public Report Add(string name, long value) => Raw(name, value.ToString(CultureInfo.InvariantCulture));

        public Report Add(string name, bool value) => Raw(name, value ? "true" : "false");

        public Report Add(string name, string value) => Raw(name, value == null ? "null" : Quote(value));

        public Report Add(string name, Report value) => Raw(name, value.ToString());

        public Report Add(string name, IEnumerable<Report> values) => Raw(name, "[" + string.Join(",", values) + "]");

        public override string ToString() => text + "}";

        private Report Raw(string name, string json)
        {
            if (text.Length > 1)
            {
                text.Append(',');
            }

            text.Append(Quote(name)).Append(':').Append(json);
            return this;
        }

        private static string Quote(string value) =>
            "\"" + value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n") + "\"";
    }

    /// <summary>The command loop on standard input. Commands of all targets: report, gc, quit.</summary>
    internal sealed class ConsoleHost
    {
        private readonly Func<Report> report;
        private readonly Dictionary<string, Action<long>> commands = new Dictionary<string, Action<long>>();

        public ConsoleHost(Func<Report> report)
        {
            this.report = report;
            On("report", _ => { });
            On("gc", _ => GC.Collect());
        }

        public ConsoleHost On(string command, Action<long> action)
        {
            commands[command] = action;
            return this;
        }

        public void Run()
        {
            TextWriter output = Console.Out;
            output.WriteLine("READY " + report().Add("pid", Process.GetCurrentProcess().Id));
            output.Flush();
            string line;
            while ((line = Console.In.ReadLine()) != null)
            {
                string[] words = line.Split(' ');
                if (words[0] == "quit")
                {
                    break;
                }

                output.WriteLine(Answer(words));
                output.Flush();
            }

            // An orderly exit waits for the finalizer thread (3.1), which some targets block on purpose.
            Process.GetCurrentProcess().Kill();
        }

        private string Answer(string[] words)
        {
            if (!commands.TryGetValue(words[0], out Action<long> action))
            {
                return "FAILED unknown command " + words[0];
            }

            try
            {
                action(words.Length > 1 ? long.Parse(words[1], CultureInfo.InvariantCulture) : 0);
                return "DONE " + report();
            }
            catch (Exception error)
            {
                return "FAILED " + error.GetType().Name + ": " + error.Message.Replace('\n', ' ');
            }
        }
    }
}
