// Order sessions are not disposed, and the finalizer of an audit log waits for a lock that the writer holds.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Shop.Orders
{
    /// <summary>Holds a receive buffer; meant to be disposed, and it never is.</summary>
    internal sealed class OrderSession : IDisposable
    {
        private readonly byte[] buffer = new byte[4096];
        private readonly string customer;
        private readonly List<string> lines = new List<string>();

        public OrderSession(string customer)
        {
            this.customer = customer;
        }

        ~OrderSession() => Release();

        public void Add(string line)
        {
            lines.Add(line);
            buffer[line.Length] = 1;
        }

        public void Dispose()
        {
            Release();
            GC.SuppressFinalize(this);
        }

        public override string ToString() => customer + ": " + lines.Count;

        private void Release() => buffer[0] = 0;
    }

    /// <summary>Flushes from its finalizer under the lock of the writer.</summary>
    internal sealed class AuditLog
    {
        private readonly AuditWriter writer;

        public AuditLog(AuditWriter writer)
        {
            this.writer = writer;
        }

        ~AuditLog() => writer.Flush();
    }

    internal sealed class AuditWriter
    {
        public readonly ManualResetEventSlim Flushing = new ManualResetEventSlim();
        private readonly object gate = new object();
        private int flushes;

        public void Flush()
        {
            Flushing.Set();
            lock (gate)
            {
                flushes++;
            }
        }

        /// <summary>The mistake: the lock is held as long as the "connection" to the audit store is open.</summary>
        public void HoldOpen(Action whileOpen)
        {
            lock (gate)
            {
                whileOpen();
            }
        }
    }

    internal static class Program
    {
        private static readonly int Sessions = Gauge.Scaled(20_000);
        private static readonly AuditWriter Writer = new AuditWriter();
        private static int accepted;

        private static void Main() => Writer.HoldOpen(() =>
        {
            OpenLog();
            GC.Collect();
            if (!Writer.Flushing.Wait(TimeSpan.FromSeconds(60)))
            {
                throw new InvalidOperationException("the finalizer thread did not reach the lock");
            }

            Accept(Sessions);
            new ConsoleHost(() => new Report().Add("ready", accepted).Add("gc", Gauge.Heap()))
                .On("grow", count => Accept((int)count))
                .Run();
        });

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void OpenLog() => GC.KeepAlive(new AuditLog(Writer));

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Accept(int count)
        {
            AcceptAll(count);
            Gauge.Collect();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void AcceptAll(int count)
        {
            for (int i = 0; i < count; i++, accepted++)
            {
                var session = new OrderSession("customer-" + accepted);
                session.Add("sku-" + i % 97);
            }
        }
    }
}
