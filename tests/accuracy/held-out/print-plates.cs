// A plate that is let go asks its press, in the finalizer, to wipe it, and the press answers when it likes
using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Gutenberg.PrintFarm
{
    class Press
    {
        public int Number { get; }

        public int Wiped;

        public Press(int number) => Number = number;

        public void Wipe(byte[] raster)
        {
            // The firmware acknowledges a wipe with the next heartbeat.
            Thread.Sleep(TimeSpan.FromSeconds(2.5));
            Array.Clear(raster, 0, raster.Length);
            Interlocked.Increment(ref Wiped);
        }
    }

    class ExposedPlate
    {
        readonly Press press;
        readonly byte[] raster;

        public ExposedPlate(Press press, int seed)
        {
            this.press = press;
            raster = new byte[9_600];
            new Random(seed).NextBytes(raster);
        }

        ~ExposedPlate()
        {
            press.Wipe(raster);
        }

        public int Ink()
        {
            int ink = 0;
            foreach (byte dot in raster)
            {
                ink += dot & 1;
            }

            return ink;
        }
    }

    class Shift
    {
        readonly Press[] presses = { new Press(1), new Press(2), new Press(3) };

        public long Ink { get; private set; }

        public int Wiped => presses[0].Wiped + presses[1].Wiped + presses[2].Wiped;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Print(int sheets)
        {
            for (var sheet = 0; sheet < sheets; sheet++)
            {
                Ink += new ExposedPlate(presses[sheet % presses.Length], sheet).Ink();
            }
        }
    }

    static class Program
    {
        static void Main()
        {
            var shift = new Shift();
            shift.Print(6_500);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("ink", shift.Ink).Add("wiped", shift.Wiped)).Run();
        }
    }
}
