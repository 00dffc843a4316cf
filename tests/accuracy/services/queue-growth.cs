// A concurrent queue that hangs on a local grows from capture to capture
using System;
using System.Collections.Concurrent;
using Shop.Hosting;

namespace Acme.Orders
{
    internal sealed class Order
    {
        public int Number;
        public byte[] Lines = new byte[700];
    }

    internal sealed class Intake
    {
        private readonly ConcurrentQueue<Order> incoming = new ConcurrentQueue<Order>();

        public int Count => incoming.Count;

        public void Accept(long count)
        {
            for (long i = 0; i < count; i++)
            {
                incoming.Enqueue(new Order { Number = (int)i });
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var intake = new Intake();
            intake.Accept(70_000);
            new ConsoleHost(() => new Report().Add("orders", intake.Count)).On("grow", intake.Accept).Run();
            GC.KeepAlive(intake);
        }
    }
}
