// A cache of mapped tiles is keyed by a class without Equals: each look-up misses and maps the tile again
using System;
using System.Collections.Generic;
using System.IO;
using System.IO.MemoryMappedFiles;
using Shop.Hosting;

namespace WideWorld.Terrain
{
    public class TileKey
    {
        public int X;
        public int Y;
        public int Zoom;
    }

    public class TileStore
    {
        private const int TileBytes = 16 * 4096;
        private const int Side = 16;
        private readonly MemoryMappedFile file;
        private readonly Dictionary<TileKey, MemoryMappedViewAccessor> open = new Dictionary<TileKey, MemoryMappedViewAccessor>();

        public TileStore(string path)
        {
            using (var stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite))
            {
                stream.SetLength((long)TileBytes * Side * Side);
            }

            var source = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            file = MemoryMappedFile.CreateFromFile(source, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, false);
        }

        public int Open => open.Count;

        public short Height(int x, int y)
        {
            var key = new TileKey { X = x / 256 % Side, Y = y / 256 % Side, Zoom = 0 };
            if (!open.TryGetValue(key, out var tile))
            {
                long offset = (long)(key.Y * Side + key.X) * TileBytes;
                tile = file.CreateViewAccessor(offset, TileBytes, MemoryMappedFileAccess.Read);
                open.Add(key, tile);
            }

            return tile.ReadInt16((y % 128 * 256 + x % 256) * 2);
        }
    }

    public static class Program
    {
        public static int Main(string[] args)
        {
            var store = new TileStore(Path.Combine(AppContext.BaseDirectory, "terrain.dat"));
            var random = new Random(3);
            int sum = 0;
            for (int i = 0; i < 6000; i++)
            {
                sum += store.Height(random.Next(4096), random.Next(4096));
            }

            new ConsoleHost(() => new Report().Add("views", store.Open).Add("sum", sum)).Run();
            return store.Open;
        }
    }
}
