// Ten server heaps share a small limit, and most of it is garbage
using System;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Small
{
    internal static class Program
    {
        private static long made;

        private static void Main()
        {
            Make(28_000);
            new ConsoleHost(() => new Report().Add("made", made).Add("gc", Gauge.Heap())).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Make(int count)
        {
            for (int i = 0; i < count; i++, made++)
            {
                GC.KeepAlive(new byte[16_000]);
            }
        }
    }
}
