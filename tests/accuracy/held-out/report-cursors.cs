// Cursors that nobody closed go back to their server in the finalizer, which waits there for a place that never comes free
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Relecloud.Reports
{
    /// <summary>One wire to the database; commands take turns on it.</summary>
    internal sealed class Wire
    {
        private readonly SemaphoreSlim turn = new SemaphoreSlim(1, 1);

        public IDisposable Enter()
        {
            turn.Wait();
            return new Turn(turn);
        }

        private sealed class Turn : IDisposable
        {
            private SemaphoreSlim turn;

            public Turn(SemaphoreSlim turn) => this.turn = turn;

            public void Dispose() => Interlocked.Exchange(ref turn, null)?.Release();
        }
    }

    internal abstract class ServerResource : IDisposable
    {
        private static int next;
        private readonly Wire wire;

        protected ServerResource(Wire wire)
        {
            this.wire = wire;
            Id = Interlocked.Increment(ref next);
        }

        ~ServerResource() => Dispose(false);

        public int Id { get; }

        public void Dispose()
        {
            Dispose(true);
            GC.SuppressFinalize(this);
        }

        protected abstract string CloseCommand { get; }

        protected virtual void Dispose(bool disposing)
        {
            using (wire.Enter())
            {
                // DEALLOCATE goes over the wire here.
                _ = CloseCommand.Length;
            }
        }
    }

    internal sealed class ServerCursor : ServerResource
    {
        private readonly List<decimal[]> prefetched = new List<decimal[]>(32);

        public ServerCursor(Wire wire) : base(wire)
        {
            for (int row = 0; row < 32; row++) prefetched.Add(new decimal[] { row, Id, 3, 4, 5, 6 });
        }

        protected override string CloseCommand => "CLOSE c" + Id;

        public IEnumerable<decimal> Totals()
        {
            foreach (decimal[] row in prefetched) yield return row[0] * row[1];
        }
    }

    internal sealed class Reporting
    {
        private readonly Wire wire = new Wire();

        public int Pages { get; private set; }

        /// <summary>A long export took its turn and hangs on a client that does not read.</summary>
        public void BeginExport() => wire.Enter();

        [MethodImpl(MethodImplOptions.NoInlining)]
        public decimal FirstPage()
        {
            decimal sum = 0;
            int rows = 0;
            // Not "using": the first page is enough, the rest "will be closed some time".
            foreach (decimal total in new ServerCursor(wire).Totals())
            {
                sum += total;
                if (++rows == 20) break;
            }

            Pages++;
            return sum;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var reporting = new Reporting();
            reporting.BeginExport();
            void Serve(long n)
            {
                for (long i = 0; i < n; i++) reporting.FirstPage();
                Gauge.Collect();
            }

            Serve(16_000);
            new ConsoleHost(() => new Report().Add("pages", reporting.Pages)).On("serve", Serve).Run();
            GC.KeepAlive(reporting);
        }
    }
}
