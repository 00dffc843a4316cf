// Every session runs a loop over a PeriodicTimer that nobody disposes
using System;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Rooms
{
    internal sealed class Room
    {
        private readonly PeriodicTimer timer = new PeriodicTimer(TimeSpan.FromHours(1));
        private readonly byte[] state = new byte[3_000];

        public async Task Run()
        {
            while (await timer.WaitForNextTickAsync())
            {
                state[0]++;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 12_000; i++)
            {
                _ = new Room().Run();
            }

            new ConsoleHost(() => new Report().Add("rooms", 12_000)).Run();
        }
    }
}
