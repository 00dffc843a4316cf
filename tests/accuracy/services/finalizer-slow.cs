// Every finalizer sleeps a little, and objects die faster than that
using System;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Cameras
{
    internal sealed class Frame
    {
        private readonly byte[] pixels = new byte[3_000];

        ~Frame()
        {
            Thread.Sleep(40);
            pixels[0] = 0;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            Grab(15_000);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("frames", 15_000)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Grab(int count)
        {
            for (int i = 0; i < count; i++)
            {
                new Frame();
            }
        }
    }
}
