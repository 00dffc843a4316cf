// Anonymous memory maps are made for every batch and kept
using System;
using System.Collections.Generic;
using System.IO.MemoryMappedFiles;
using Shop.Hosting;

namespace Acme.Batches
{
    internal static class Program
    {
        private static void Main()
        {
            var batches = new List<MemoryMappedViewAccessor>();
            for (int i = 0; i < 30; i++)
            {
                var view = MemoryMappedFile.CreateNew(null, 10_000_000).CreateViewAccessor();
                for (long at = 0; at < 10_000_000; at += 4_096)
                {
                    view.Write(at, 1);
                }

                batches.Add(view);
            }

            new ConsoleHost(() => new Report().Add("batches", batches.Count)).Run();
            GC.KeepAlive(batches);
        }
    }
}
