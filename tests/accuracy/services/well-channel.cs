// A bounded channel is full, and its producer waits
using System;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Well16
{
    internal static class Program
    {
        private static readonly Channel<byte[]> Frames = Channel.CreateBounded<byte[]>(2_000);

        private static async Task Produce()
        {
            while (true)
            {
                await Frames.Writer.WriteAsync(new byte[4_000]);
            }
        }

        private static void Main()
        {
            _ = Task.Run(Produce);
            Thread.Sleep(300);
            new ConsoleHost(() => new Report().Add("capacity", 2_000)).Run();
        }
    }
}
