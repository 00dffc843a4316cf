// A mixing desk for web radio: its blocks of audio are large, come from a pool of fixed size, and go back to it
using System;
using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Airwave.Mixing
{
    internal sealed class Block
    {
        public readonly float[] Left = new float[65_536];
        public readonly float[] Right = new float[65_536];
    }

    internal sealed class BlockPool
    {
        private readonly ConcurrentStack<Block> free = new ConcurrentStack<Block>();
        private readonly SemaphoreSlim available;

        public BlockPool(int size)
        {
            available = new SemaphoreSlim(size);
            for (int i = 0; i < size; i++)
            {
                var block = new Block();
                block.Left.AsSpan().Fill(0.25f);
                block.Right.AsSpan().Fill(0.25f);
                free.Push(block);
            }
        }

        public int Free => free.Count;

        public async Task<T> With<T>(Func<Block, Task<T>> work)
        {
            await available.WaitAsync();
            if (!free.TryPop(out Block block))
            {
                throw new InvalidOperationException("more permits than blocks");
            }

            try
            {
                return await work(block);
            }
            finally
            {
                free.Push(block);
                available.Release();
            }
        }
    }

    internal sealed class Desk
    {
        private readonly BlockPool pool = new BlockPool(96);
        private long mixed;

        public long Mixed => Interlocked.Read(ref mixed);

        public int Free => pool.Free;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Broadcast(long rounds)
        {
            for (long round = 0; round < rounds; round++)
            {
                var stations = new Task<float>[120];
                for (int station = 0; station < stations.Length; station++)
                {
                    float gain = 0.5f + station / 240f;
                    stations[station] = pool.With(block => Mix(block, gain));
                }

                Task.WaitAll(stations);
            }
        }

        private async Task<float> Mix(Block block, float gain)
        {
            await Task.Yield();
            float peak = 0;
            for (int i = 0; i < block.Left.Length; i += 16)
            {
                block.Left[i] = block.Right[i] * gain;
                peak = Math.Max(peak, block.Left[i]);
            }

            Interlocked.Increment(ref mixed);
            return peak;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var desk = new Desk();
            desk.Broadcast(10);
            new ConsoleHost(() => new Report().Add("mixed", desk.Mixed).Add("free", desk.Free)).On("serve", desk.Broadcast).Run();
        }
    }
}
