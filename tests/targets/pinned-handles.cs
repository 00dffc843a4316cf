// Every connection pins a small receive buffer for native code and never frees the handle.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Shop.Gateway
{
    /// <summary>The pinned buffer of one connection. Free() is forgotten when the connection closes.</summary>
    internal sealed class ReceiveBuffer
    {
        private readonly GCHandle handle;

        public ReceiveBuffer(int bytes)
        {
            Buffer = new byte[bytes];
            handle = GCHandle.Alloc(Buffer, GCHandleType.Pinned);
        }

        public byte[] Buffer { get; }

        public IntPtr Address => handle.AddrOfPinnedObject();

        public void Free() => handle.Free();
    }

    /// <summary>What a request needs while it runs.</summary>
    internal sealed class RequestContext
    {
        public byte[] Body;
        public Dictionary<string, string> Headers;
    }

    internal static class Program
    {
        private static readonly int Connections = Gauge.Scaled(6_000);
        private const int BufferBytes = 512;
        private const int BodyBytes = 28_000;
        private static readonly List<ReceiveBuffer> Open = new List<ReceiveBuffer>();

        private static void Main()
        {
            Serve();
            Gauge.Collect();
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("pinned_handles", Open.Count)
                    .Add("pinned_bytes_each", BufferBytes)
                    .Add("least_free_bytes", 100_000_000)
                    .Add("gc", Gauge.Heap()))
                .Run();
        }

        /// <summary>Requests and their connections grow old together; then the requests end and the pins remain.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Serve()
        {
            var running = new List<RequestContext>();
            for (int i = 0; i < Connections; i++)
            {
                Open.Add(new ReceiveBuffer(BufferBytes));
                running.Add(new RequestContext
                {
                    Body = Body(i),
                    Headers = new Dictionary<string, string> { ["x-request-id"] = "request-" + i },
                });
            }

            Gauge.Collect();
            Gauge.Collect();
            GC.KeepAlive(running);
        }

        private static byte[] Body(int seed)
        {
            var body = new byte[BodyBytes];
            for (int i = 0; i < body.Length; i += 256)
            {
                body[i] = (byte)(seed + i);
            }

            return body;
        }
    }
}
