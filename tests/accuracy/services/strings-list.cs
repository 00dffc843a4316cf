// A list of log lines has the same few lines a million times
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Logs
{
    internal sealed class Buffer
    {
        private readonly List<string> lines = new List<string>();

        public int Count => lines.Count;

        public void Write(string level, string text) => lines.Add(level + ": " + text);
    }

    internal static class Program
    {
        private static void Main()
        {
            var buffer = new Buffer();
            for (int i = 0; i < 900_000; i++)
            {
                buffer.Write("warning", "the upstream service did not answer in time, retry " + i % 4);
            }

            new ConsoleHost(() => new Report().Add("lines", buffer.Count)).Run();
            GC.KeepAlive(buffer);
        }
    }
}
