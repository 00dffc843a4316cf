// A System.Timers.Timer for every device goes on after the device has gone
using System;
using System.Threading;
using Shop.Hosting;

namespace Acme.Devices
{
    internal sealed class Device
    {
        private readonly byte[] frame = new byte[4_000];

        public Device()
        {
            var heartbeat = new System.Timers.Timer(3_000_000) { AutoReset = true };
            heartbeat.Elapsed += Beat;
            heartbeat.Start();
        }

        private void Beat(object sender, System.Timers.ElapsedEventArgs args) => frame[0]++;
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 8_000; i++)
            {
                new Device();
            }

            new ConsoleHost(() => new Report().Add("devices", 8_000)).Run();
        }
    }
}
