// A file sink opens a log for every tenant and hour and closes none
using System;
using System.Collections.Generic;
using System.IO;
using Shop.Hosting;

namespace Litware.Logging
{
    public sealed class RollingFileSink
    {
        private readonly string root;
        private readonly Dictionary<string, StreamWriter> writers = new Dictionary<string, StreamWriter>();

        public RollingFileSink(string root)
        {
            this.root = root;
            Directory.CreateDirectory(root);
        }

        public int Open => writers.Count;

        public void Emit(string tenant, DateTime at, string message)
        {
            var name = $"{tenant}-{at:yyyyMMddHH}.log";
            if (!writers.TryGetValue(name, out var writer))
            {
                var stream = new FileStream(Path.Combine(root, name), FileMode.Append, FileAccess.Write, FileShare.ReadWrite, 16 * 1024);
                writers.Add(name, writer = new StreamWriter(stream));
            }

            writer.WriteLine($"{at:O} {message}");
        }
    }

    public static class Program
    {
        public static int Main()
        {
            var folder = Path.Combine(Path.GetTempPath(), "litware-" + Guid.NewGuid().ToString("n"));
            var sink = new RollingFileSink(folder);
            var start = new DateTime(2024, 3, 1, 0, 0, 0, DateTimeKind.Utc);
            for (int hour = 0; hour < 90; hour++)
            {
                for (int tenant = 0; tenant < 10; tenant++)
                {
                    sink.Emit("tenant" + tenant, start.AddHours(hour), "order accepted");
                }
            }

            Directory.Delete(folder, recursive: true);
            new ConsoleHost(() => new Report().Add("open", sink.Open)).Run();
            GC.KeepAlive(sink);
            return 0;
        }
    }
}
