// A large data file is mapped and read
using System;
using System.IO;
using System.IO.MemoryMappedFiles;
using Shop.Hosting;

namespace Acme.Well6
{
    internal static class Program
    {
        private static void Main()
        {
            string file = Path.GetTempFileName();
            using (var stream = new FileStream(file, FileMode.Create))
            {
                var block = new byte[1_000_000];
                for (int i = 0; i < 250; i++)
                {
                    block[i] = 1;
                    stream.Write(block, 0, block.Length);
                }
            }

            MemoryMappedFile map = MemoryMappedFile.CreateFromFile(file, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            MemoryMappedViewAccessor view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            File.Delete(file);
            long sum = 0;
            for (long at = 0; at < 250_000_000; at += 4_096)
            {
                sum += view.ReadByte(at);
            }

            new ConsoleHost(() => new Report().Add("sum", sum)).Run();
            GC.KeepAlive(view);
        }
    }
}
