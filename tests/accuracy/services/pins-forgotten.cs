// Buffers are pinned for a native call and never let go
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Imaging
{
    internal sealed class Codec
    {
        public int Calls;

        public void Encode(byte[] pixels)
        {
            GCHandle pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            Calls += pin.AddrOfPinnedObject() == IntPtr.Zero ? 0 : 1;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var codec = new Codec();
            for (int i = 0; i < 12_000; i++)
            {
                codec.Encode(new byte[4_000]);
                GC.KeepAlive(new byte[8_000]);
            }

            GC.Collect();
            new ConsoleHost(() => new Report().Add("calls", codec.Calls)).Run();
        }
    }
}
