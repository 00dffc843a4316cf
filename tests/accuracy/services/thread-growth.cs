// A thread is started for every message; few so far, and more in every capture
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Push
{
    internal static class Program
    {
        private static readonly ManualResetEvent Sent = new ManualResetEvent(false);
        private static int threads;

        private static void Main()
        {
            Push(60);
            new ConsoleHost(() => new Report().Add("threads", threads)).On("grow", Push).Run();
        }

        private static void Push(long count)
        {
            for (long i = 0; i < count; i++)
            {
                threads++;
                new Thread(() => Sent.WaitOne(), 256 * 1024) { IsBackground = true, Name = "push " + threads }.Start();
            }
        }
    }
}
