// Millions of small unmanaged blocks
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Index
{
    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 1_800_000; i++)
            {
                Marshal.WriteInt32(Marshal.AllocHGlobal(180), i);
            }

            new ConsoleHost(() => new Report().Add("blocks", 1_800_000)).Run();
        }
    }
}
