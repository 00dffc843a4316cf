// An idle service on server GC with four heaps
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well3
{
    internal static class Program
    {
        private static void Main()
        {
            var settings = new Dictionary<string, string>();
            for (int i = 0; i < 20_000; i++)
            {
                settings["key " + i] = "value " + i;
            }

            for (int i = 0; i < 20_000; i++)
            {
                GC.KeepAlive(new byte[10_000]);
            }

            new ConsoleHost(() => new Report().Add("settings", settings.Count)).Run();
            GC.KeepAlive(settings);
        }
    }
}
