// A few thousand pinned blocks spread over the heap, with what was between them gone
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Sockets
{
    internal sealed class Connection
    {
        private readonly byte[] receive = new byte[512];
        private readonly GCHandle pin;

        public Connection()
        {
            pin = GCHandle.Alloc(receive, GCHandleType.Pinned);
        }

        public bool IsOpen => pin.IsAllocated;
    }

    internal static class Program
    {
        private static readonly List<Connection> Open = new List<Connection>();

        private static void Main()
        {
            Accept(3_000);
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("connections", Open.Count).Add("gc", Gauge.Heap())).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Accept(int count)
        {
            var requests = new List<byte[]>();
            for (int i = 0; i < count; i++)
            {
                Open.Add(new Connection());
                for (int j = 0; j < 5; j++)
                {
                    requests.Add(new byte[10_000]);
                }
            }

            GC.KeepAlive(requests);
        }
    }
}
