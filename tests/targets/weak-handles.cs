// A tracker makes a weak handle for every picture it ever saw and frees none.
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Shop.Pictures
{
    internal sealed class Picture
    {
        public int Number;
    }

    internal static class Tracker
    {
        public static int Tracked;

        public static void Track(Picture picture)
        {
            GCHandle.Alloc(picture, GCHandleType.Weak);
            Tracked++;
        }
    }

    internal static class Program
    {
        private const int Pictures = 300_000;

        private static void Main()
        {
            for (int i = 0; i < Pictures; i++)
            {
                Tracker.Track(new Picture { Number = i });
            }

            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("tracked", Tracker.Tracked)).Run();
        }
    }
}
