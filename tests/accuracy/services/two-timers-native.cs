// Timers that nobody stops, and unmanaged blocks that nobody frees
using System;
using System.Runtime.InteropServices;
using System.Threading;
using Shop.Hosting;

namespace Acme.Pair3
{
    internal sealed class Watch
    {
        private readonly byte[] log = new byte[4_000];
        private readonly Timer timer;

        public Watch()
        {
            timer = new Timer(Look, null, 5_000_000, 5_000_000);
        }

        private void Look(object state) => log[0] += (byte)(timer == null ? 0 : 1);
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 11_000; i++)
            {
                new Watch();
            }

            for (int i = 0; i < 260; i++)
            {
                IntPtr block = Marshal.AllocHGlobal(1_000_000);
                for (int at = 0; at < 1_000_000; at += 4_096)
                {
                    Marshal.WriteByte(block, at, 1);
                }
            }

            new ConsoleHost(() => new Report().Add("watches", 11_000)).Run();
        }
    }
}
