// Many buffers are pinned for a moment each
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Well7
{
    internal static class Program
    {
        private static void Main()
        {
            long calls = 0;
            for (int i = 0; i < 300_000; i++)
            {
                var buffer = new byte[1_000];
                GCHandle pin = GCHandle.Alloc(buffer, GCHandleType.Pinned);
                calls += pin.AddrOfPinnedObject() == IntPtr.Zero ? 0 : 1;
                pin.Free();
            }

            var pool = new List<GCHandle>();
            for (int i = 0; i < 120; i++)
            {
                pool.Add(GCHandle.Alloc(new byte[16_000], GCHandleType.Pinned));
            }

            new ConsoleHost(() => new Report().Add("calls", calls)).Run();
            GC.KeepAlive(pool);
        }
    }
}
