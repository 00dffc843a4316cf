// Requests over a message bus wait for replies that are lost, without a timeout
using System;
using System.Collections.Concurrent;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace AdventureWorks.Bus
{
    public sealed class Envelope
    {
        public Guid CorrelationId;
        public string Address;
        public byte[] Body;
    }

    public sealed class RequestClient
    {
        private readonly ConcurrentDictionary<Guid, TaskCompletionSource<Envelope>> pending = new ConcurrentDictionary<Guid, TaskCompletionSource<Envelope>>();

        public int Pending => pending.Count;

        public Task<Envelope> SendAsync(Envelope request)
        {
            var source = new TaskCompletionSource<Envelope>(TaskCreationOptions.RunContinuationsAsynchronously);
            pending[request.CorrelationId] = source;
            return source.Task;
        }

        public void OnReply(Envelope reply)
        {
            if (pending.TryRemove(reply.CorrelationId, out var source))
            {
                source.TrySetResult(reply);
            }
        }
    }

    public sealed class OrderSaga
    {
        private readonly RequestClient client;

        public OrderSaga(RequestClient client) => this.client = client;

        public async Task PlaceAsync(int order)
        {
            var reserved = await ReserveStockAsync(order);
            if (reserved)
            {
                Interlocked.Increment(ref Program.Placed);
            }
        }

        private async Task<bool> ReserveStockAsync(int order)
        {
            var reply = await client.SendAsync(new Envelope { CorrelationId = Guid.NewGuid(), Address = "queue:stock", Body = new byte[700] });
            return reply.Body.Length > 0;
        }
    }

    public static class Program
    {
        public static int Placed;

        public static void Main()
        {
            var client = new RequestClient();
            var saga = new OrderSaga(client);
            for (int order = 0; order < 60_000; order++)
            {
                _ = saga.PlaceAsync(order);
            }

            new ConsoleHost(() => new Report().Add("pending", client.Pending)).Run();
            GC.KeepAlive(client);
        }
    }
}
