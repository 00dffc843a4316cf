// Receive buffers are allocated on the pinned object heap and kept after the peak
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Kestrel
{
    internal sealed class Pool
    {
        private readonly List<byte[]> blocks = new List<byte[]>();

        public int Count => blocks.Count;

        public void Grow(int count)
        {
            for (int i = 0; i < count; i++)
            {
                blocks.Add(GC.AllocateArray<byte>(32 * 1024, pinned: true));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var pool = new Pool();
            pool.Grow(8_000);
            new ConsoleHost(() => new Report().Add("blocks", pool.Count)).Run();
            GC.KeepAlive(pool);
        }
    }
}
