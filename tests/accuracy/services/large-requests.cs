// Whole files are held in byte arrays while requests run
using System;
using System.Collections.Generic;
using System.IO;
using Shop.Hosting;

namespace Acme.Files
{
    internal sealed class Request
    {
        public string Name;
        public MemoryStream Content = new MemoryStream();

        public void Receive(int bytes)
        {
            var chunk = new byte[64 * 1024];
            for (int i = 0; i < bytes; i += chunk.Length)
            {
                Content.Write(chunk, 0, chunk.Length);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var running = new List<Request>();
            for (int i = 0; i < 100; i++)
            {
                var request = new Request { Name = "file " + i };
                request.Receive(1_500_000);
                running.Add(request);
            }

            new ConsoleHost(() => new Report().Add("running", running.Count)).Run();
            GC.KeepAlive(running);
        }
    }
}
