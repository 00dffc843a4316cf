// A wrapper of unmanaged pixels has Dispose but no finalizer, and callers forget to call it
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Litware.Imaging
{
    public sealed class Bitmap : IDisposable
    {
        private IntPtr scan0;

        public Bitmap(int width, int height)
        {
            Width = width;
            Height = height;
            scan0 = Marshal.AllocHGlobal(width * height * 4);
            for (int y = 0; y < height; y++)
            {
                for (int x = 0; x < width; x += 64)
                {
                    Marshal.WriteInt32(scan0, (y * width + x) * 4, x ^ y);
                }
            }
        }

        public int Width { get; }

        public int Height { get; }

        public int this[int x, int y] => Marshal.ReadInt32(scan0, (y * Width + x) * 4);

        public void Dispose()
        {
            Marshal.FreeHGlobal(scan0);
            scan0 = IntPtr.Zero;
        }
    }

    public class Thumbnailer
    {
        public int Average(int picture)
        {
            var bitmap = new Bitmap(320, 200 + picture % 3);
            var sum = 0;
            for (int i = 0; i < 320; i += 64)
            {
                sum += bitmap[i, i % 200];
            }

            return sum / 5;
        }
    }

    public static class Program
    {
        public static void Main()
        {
            var thumbnailer = new Thumbnailer();
            long total = 0;
            for (int i = 0; i < 900; i++)
            {
                total += thumbnailer.Average(i);
            }

            new ConsoleHost(() => new Report().Add("pictures", 900)).Run();
        }
    }
}
