// Uploads share 48 slabs of a megabyte; each of them goes back, and there are never more
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using Shop.Hosting;

namespace Woodgrove.Uploads
{
    internal sealed class SlabPool
    {
        private readonly ConcurrentBag<byte[]> idle = new ConcurrentBag<byte[]>();
        private readonly SemaphoreSlim places;
        private int made;

        public SlabPool(int capacity) => places = new SemaphoreSlim(capacity, capacity);

        public int Made => made;

        public int Out => made - idle.Count;

        public Lease Rent()
        {
            places.Wait();
            if (!idle.TryTake(out byte[] slab))
            {
                Interlocked.Increment(ref made);
                slab = new byte[1 << 20];
            }

            return new Lease(this, slab);
        }

        private void Return(byte[] slab)
        {
            idle.Add(slab);
            places.Release();
        }

        internal sealed class Lease : IDisposable
        {
            private readonly SlabPool pool;
            private byte[] slab;

            public Lease(SlabPool pool, byte[] slab)
            {
                this.pool = pool;
                this.slab = slab;
            }

            public Span<byte> Bytes => slab;

            public void Dispose()
            {
                byte[] mine = Interlocked.Exchange(ref slab, null);
                if (mine != null)
                {
                    pool.Return(mine);
                }
            }
        }
    }

    internal sealed class Upload : IDisposable
    {
        private readonly SlabPool.Lease lease;
        private int length;

        public Upload(SlabPool pool) => lease = pool.Rent();

        public void Receive(int bytes, byte content)
        {
            lease.Bytes.Slice(length, bytes).Fill(content);
            length += bytes;
        }

        /// <summary>FNV-1a over the words of it.</summary>
        public ulong Digest()
        {
            ulong digest = 14_695_981_039_346_656_037;
            foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(lease.Bytes.Slice(0, length)))
            {
                digest = (digest ^ word) * 1_099_511_628_211;
            }

            return digest;
        }

        public void Dispose() => lease.Dispose();
    }

    internal sealed class UploadServer
    {
        private readonly SlabPool pool = new SlabPool(48);
        private readonly Queue<Upload> running = new Queue<Upload>();

        public long Finished { get; private set; }

        public ulong LastDigest { get; private set; }

        public int Slabs => pool.Made;

        public int InUse => pool.Out;

        /// <summary>Thirty uploads are always under way; the oldest is done when another one comes. A rush needs all slabs.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Serve(long uploads)
        {
            for (long i = 0; i < uploads; i++)
            {
                int allowed = i % 100 < 10 ? 47 : 30;
                while (running.Count > allowed)
                {
                    using (Upload oldest = running.Dequeue())
                    {
                        LastDigest = oldest.Digest();
                        Finished++;
                    }
                }

                var upload = new Upload(pool);
                for (int part = 0; part < 4; part++) upload.Receive(256 * 1_024, (byte)(part + i));
                running.Enqueue(upload);
            }
        }

        public void Rush()
        {
            while (running.Count < 48)
            {
                var upload = new Upload(pool);
                upload.Receive(1 << 20, (byte)running.Count);
                running.Enqueue(upload);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var server = new UploadServer();
            server.Rush();
            server.Serve(300);
            new ConsoleHost(() => new Report()
                    .Add("finished", server.Finished)
                    .Add("digest", server.LastDigest.ToString("x"))
                    .Add("slabs", server.Slabs)
                    .Add("in_use", server.InUse))
                .On("serve", server.Serve)
                .Run();
        }
    }
}
