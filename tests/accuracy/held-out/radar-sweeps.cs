// A sweep of the weather radar is copied to native memory for the projection; an incomplete sweep is skipped, and not freed
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Nimbus.Radar
{
    internal readonly ref struct Sweep
    {
        public readonly ReadOnlySpan<short> Echoes;
        public readonly bool Complete;

        public Sweep(ReadOnlySpan<short> echoes, bool complete)
        {
            Echoes = echoes;
            Complete = complete;
        }
    }

    internal sealed class Antenna
    {
        private readonly short[] echoes = new short[360 * 64];
        private int turn;

        public Sweep Turn()
        {
            turn++;
            for (int i = 0; i < echoes.Length; i++)
            {
                echoes[i] = (short)(i * 13 ^ turn);
            }

            return new Sweep(echoes, turn % 4 == 0);
        }
    }

    internal sealed unsafe class Projector
    {
        private readonly long[] rainByRing = new long[64];

        public long Drawn { get; private set; }

        public long Skipped { get; private set; }

        public void Project(in Sweep sweep)
        {
            var native = (short*)Marshal.AllocCoTaskMem(sweep.Echoes.Length * sizeof(short));
            sweep.Echoes.CopyTo(new Span<short>(native, sweep.Echoes.Length));
            if (!sweep.Complete)
            {
                Skipped++;
                return;
            }

            for (int ray = 0; ray < 360; ray++)
            {
                for (int ring = 0; ring < 64; ring++)
                {
                    rainByRing[ring] += native[ray * 64 + ring];
                }
            }

            Drawn++;
            Marshal.FreeCoTaskMem((IntPtr)native);
        }
    }

    internal static class Program
    {
        private static readonly Antenna Antenna = new Antenna();
        private static readonly Projector Projector = new Projector();

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Observe(long turns)
        {
            while (turns-- > 0)
            {
                Projector.Project(Antenna.Turn());
            }
        }

        private static int Main()
        {
            Observe(1_200);
            new ConsoleHost(() => new Report().Add("drawn", Projector.Drawn).Add("skipped", Projector.Skipped))
                .On("serve", Observe)
                .Run();
            return 0;
        }
    }
}
