// A thread per subscription waits for the next notification; unsubscribing forgets to wake it.
using System;
using System.Collections.Generic;
using System.Threading;
using Shop.Hosting;

namespace Shop.Notifications
{
    internal sealed class Subscription
    {
        private readonly AutoResetEvent arrived = new AutoResetEvent(false);
        private readonly string topic;

        public Subscription(string topic)
        {
            this.topic = topic;
            new Thread(Deliver) { IsBackground = true, Name = "deliver-" + topic }.Start();
        }

        private void Deliver()
        {
            Program.Started.Release();
            while (arrived.WaitOne())
            {
                Console.Error.WriteLine(topic);
            }
        }
    }

    internal static class Program
    {
        public static readonly SemaphoreSlim Started = new SemaphoreSlim(0);
        private const int Subscriptions = 650;
        private static readonly List<Subscription> All = new List<Subscription>();

        private static void Main()
        {
            Subscribe(Gauge.Scaled(Subscriptions));
            new ConsoleHost(() => new Report().Add("threads", All.Count).Add("gc", Gauge.Heap()))
                .On("grow", Subscribe)
                .Run();
        }

        private static void Subscribe(long count)
        {
            for (long i = 0; i < count; i++)
            {
                All.Add(new Subscription("order-" + All.Count));
                Started.Wait();
            }
        }
    }
}
