// Unmanaged blocks are allocated for every frame and never freed
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Video
{
    internal sealed class Encoder
    {
        private long frames;

        public long Frames => frames;

        public void Encode(int count)
        {
            for (int i = 0; i < count; i++)
            {
                IntPtr frame = Marshal.AllocHGlobal(1_000_000);
                for (int at = 0; at < 1_000_000; at += 4_096)
                {
                    Marshal.WriteByte(frame, at, 1);
                }

                frames++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var encoder = new Encoder();
            encoder.Encode(320);
            new ConsoleHost(() => new Report().Add("frames", encoder.Frames)).Run();
        }
    }
}
