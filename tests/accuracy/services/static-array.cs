// A static array of slots keeps a thumbnail for every picture ever shown
using System;
using Shop.Hosting;

namespace Acme.Media
{
    internal static class Thumbnails
    {
        private static byte[][] slots = new byte[16][];
        private static int used;

        public static int Used => used;

        public static void Keep(byte[] pixels)
        {
            if (used == slots.Length)
            {
                Array.Resize(ref slots, used * 2);
            }

            slots[used++] = pixels;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(9_000); i++)
            {
                var pixels = new byte[12_000];
                pixels[i % pixels.Length] = 1;
                Thumbnails.Keep(pixels);
            }

            new ConsoleHost(() => new Report().Add("thumbnails", Thumbnails.Used)).Run();
        }
    }
}
