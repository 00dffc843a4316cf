// Orders are accepted quickly and exported by one worker that waits for a system that does not answer.
using System;
using System.Collections.Concurrent;
using System.Threading;
using Shop.Hosting;

namespace Shop.Export
{
    internal sealed class Order
    {
        public int Number;
        public string Customer;
        public byte[] Document;
    }

    internal sealed class Exporter
    {
        private readonly ConcurrentQueue<Order> pending = new ConcurrentQueue<Order>();
        private readonly ManualResetEventSlim answer = new ManualResetEventSlim(false);

        public Exporter()
        {
            new Thread(Work) { IsBackground = true, Name = "exporter" }.Start();
        }

        public int Pending => pending.Count;

        public void Accept(Order order) => pending.Enqueue(order);

        private void Work()
        {
            while (pending.TryDequeue(out Order order))
            {
                answer.Wait();
                GC.KeepAlive(order);
            }
        }
    }

    internal static class Program
    {
        private const int Orders = 150_000;
        private static readonly Exporter Exporter = new Exporter();

        private static void Main()
        {
            for (int i = 0; i < Orders; i++)
            {
                Exporter.Accept(new Order { Number = i, Customer = "customer-" + i % 900, Document = new byte[600] });
            }

            new ConsoleHost(() => new Report().Add("pending", Exporter.Pending)).Run();
        }
    }
}
