// Much short-lived garbage, little that lives
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well2
{
    internal static class Program
    {
        private static long bytes;

        private static void Main()
        {
            var recent = new Queue<byte[]>();
            for (int i = 0; i < 400_000; i++)
            {
                var request = new byte[5_000];
                bytes += request.Length;
                recent.Enqueue(request);
                if (recent.Count > 200)
                {
                    recent.Dequeue();
                }
            }

            new ConsoleHost(() => new Report().Add("bytes", bytes)).Run();
            GC.KeepAlive(recent);
        }
    }
}
