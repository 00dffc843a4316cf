// A pool of native frames drops what does not fit instead of freeing it
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Blueyonder.Transcode
{
    /// <summary>A picture in planar YUV in memory that the encoder can read. Copied by value, owned by whoever rented it.</summary>
    internal readonly unsafe struct YuvFrame
    {
        public readonly IntPtr Pixels;
        public readonly int Width;
        public readonly int Height;

        public YuvFrame(int width, int height)
        {
            Width = width;
            Height = height;
            Pixels = Marshal.AllocHGlobal(width * height * 3 / 2);
        }

        public Span<byte> Luma => new Span<byte>((void*)Pixels, Width * Height);

        public Span<byte> Chroma => new Span<byte>((void*)(Pixels + Width * Height), Width * Height / 2);
    }

    internal sealed class FramePool
    {
        private const int Keep = 8;
        private readonly Stack<YuvFrame> idle = new Stack<YuvFrame>(Keep);
        private readonly int width;
        private readonly int height;

        public FramePool(int width, int height)
        {
            this.width = width;
            this.height = height;
        }

        public long Dropped { get; private set; }

        public YuvFrame Rent() => idle.Count > 0 ? idle.Pop() : new YuvFrame(width, height);

        public void Return(YuvFrame frame)
        {
            if (idle.Count < Keep)
            {
                idle.Push(frame);
                return;
            }

            Dropped++;
        }
    }

    internal abstract class Stage
    {
        public abstract void Apply(in YuvFrame frame, int number);
    }

    internal sealed class Decode : Stage
    {
        public override void Apply(in YuvFrame frame, int number)
        {
            frame.Luma.Fill((byte)(number % 220 + 16));
            frame.Chroma.Fill(128);
        }
    }

    internal sealed class Deblock : Stage
    {
        public override void Apply(in YuvFrame frame, int number)
        {
            Span<byte> luma = frame.Luma;
            for (int i = 8; i < luma.Length; i += 8) luma[i] = (byte)((luma[i] + luma[i - 1]) / 2);
        }
    }

    internal sealed class Ladder
    {
        private readonly FramePool pool = new FramePool(320, 180);
        private readonly Stage[] stages = { new Decode(), new Deblock() };

        public long Groups { get; private set; }

        public long Dropped => pool.Dropped;

        /// <summary>A group of pictures is decoded as a whole before any frame of it goes back.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Transcode(long groups)
        {
            Span<YuvFrame> group = new YuvFrame[24];
            for (long g = 0; g < groups; g++)
            {
                for (int i = 0; i < group.Length; i++)
                {
                    group[i] = pool.Rent();
                    foreach (Stage stage in stages) stage.Apply(group[i], i);
                }

                foreach (YuvFrame frame in group) pool.Return(frame);
                Groups++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var ladder = new Ladder();
            ladder.Transcode(40);
            new ConsoleHost(() => new Report().Add("groups", ladder.Groups).Add("dropped", ladder.Dropped))
                .On("serve", ladder.Transcode)
                .Run();
        }
    }
}
