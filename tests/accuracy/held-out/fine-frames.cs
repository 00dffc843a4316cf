// Frames of video are coded in large buffers that a pool of its own takes back
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Margie.Video
{
    public interface IFrameBuffer : IDisposable
    {
        byte[] Pixels { get; }
    }

    public sealed class FramePool
    {
        private readonly ConcurrentStack<byte[]> idle = new ConcurrentStack<byte[]>();
        private readonly int size;
        private readonly int keep;
        private int kept;

        public FramePool(int size, int keep)
        {
            this.size = size;
            this.keep = keep;
        }

        public int Idle => kept;

        public IFrameBuffer Rent()
        {
            if (idle.TryPop(out var pixels))
            {
                Interlocked.Decrement(ref kept);
            }
            else
            {
                pixels = new byte[size];
            }

            return new Lease(this, pixels);
        }

        private void Return(byte[] pixels)
        {
            if (Interlocked.Increment(ref kept) <= keep)
            {
                idle.Push(pixels);
            }
            else
            {
                Interlocked.Decrement(ref kept);
            }
        }

        private sealed class Lease : IFrameBuffer
        {
            private readonly FramePool pool;

            public Lease(FramePool pool, byte[] pixels) => (this.pool, Pixels) = (pool, pixels);

            public byte[] Pixels { get; private set; }

            public void Dispose()
            {
                if (Pixels != null)
                {
                    pool.Return(Pixels);
                    Pixels = null;
                }
            }
        }
    }

    public sealed class Encoder
    {
        private readonly FramePool pool;
        private readonly Queue<IFrameBuffer> reference = new Queue<IFrameBuffer>();

        public Encoder(FramePool pool) => this.pool = pool;

        public long Bytes { get; private set; }

        public void Encode(long frames)
        {
            for (long frame = 0; frame < frames; frame++)
            {
                var buffer = pool.Rent();
                for (int at = 0; at < buffer.Pixels.Length; at += 4096)
                {
                    buffer.Pixels[at] = (byte)(frame + at);
                }

                var packets = new List<byte[]>();
                for (int slice = 0; slice < 20; slice++)
                {
                    packets.Add(new byte[600 + (frame * slice) % 900]);
                }

                packets.ForEach(packet => Bytes += packet.Length);
                reference.Enqueue(buffer);
                if (reference.Count > 16)
                {
                    reference.Dequeue().Dispose();
                }
            }
        }
    }

    public static class Program
    {
        public static void Main()
        {
            var pool = new FramePool(1920 * 1080 * 3 / 2, 24);
            var encoders = new List<Encoder> { new Encoder(pool), new Encoder(pool), new Encoder(pool) };
            Work(600);
            new ConsoleHost(() => new Report().Add("idle", pool.Idle)).On("encode", Work).Run();

            void Work(long frames) => encoders.ForEach(encoder => encoder.Encode(frames));
        }
    }
}
