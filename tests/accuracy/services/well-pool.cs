// Buffers are rented from the shared pool and returned
using System;
using System.Buffers;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Well9
{
    internal static class Program
    {
        private static void Main()
        {
            long rented = 0;
            for (int round = 0; round < 200; round++)
            {
                var buffers = new List<byte[]>();
                for (int i = 0; i < 40; i++)
                {
                    buffers.Add(ArrayPool<byte>.Shared.Rent(100_000 + i * 1_000));
                    rented++;
                }

                foreach (byte[] buffer in buffers)
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }
            }

            new ConsoleHost(() => new Report().Add("rented", rented)).Run();
        }
    }
}
