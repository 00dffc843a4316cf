// A ring of large buffers is reused for ever
using System;
using Shop.Hosting;

namespace Acme.Well12
{
    internal sealed class Ring
    {
        private readonly byte[][] buffers = new byte[60][];
        private long next;

        public Ring()
        {
            for (int i = 0; i < buffers.Length; i++)
            {
                buffers[i] = new byte[2_500_000];
            }
        }

        public long Next => next;

        public void Write(long count)
        {
            for (long i = 0; i < count; i++, next++)
            {
                byte[] buffer = buffers[next % buffers.Length];
                buffer[next % buffer.Length]++;
                GC.KeepAlive(new byte[20_000]);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var ring = new Ring();
            ring.Write(100_000);
            new ConsoleHost(() => new Report().Add("next", ring.Next)).On("write", ring.Write).Run();
            GC.KeepAlive(ring);
        }
    }
}
