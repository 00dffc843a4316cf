// Bitmaps live in native memory behind a small managed object without a finalizer; nobody calls Free.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Shop.Images
{
    internal sealed class NativeBitmap
    {
        private readonly IntPtr pixels;

        public NativeBitmap(int bytes)
        {
            pixels = Marshal.AllocHGlobal(bytes);
            for (int i = 0; i < bytes; i += 1024)
            {
                Marshal.WriteByte(pixels, i, (byte)i);
            }
        }

        public void Free() => Marshal.FreeHGlobal(pixels);
    }

    internal static class Program
    {
        private const int BitmapBytes = 64 * 1024;
        private static long allocated;

        private static void Main()
        {
            Load(300);
            new ConsoleHost(() => new Report().Add("native_bytes", allocated).Add("gc", Gauge.Heap()))
                .On("grow", Load)
                .Run();
        }

        private static void Load(long megabytes)
        {
            for (long bytes = 0; bytes < megabytes * 1_000_000; bytes += BitmapBytes)
            {
                new NativeBitmap(BitmapBytes);
                allocated += BitmapBytes;
            }
        }
    }
}
