// Sensors come and go; the ring that the radio card wrote to stays pinned after the sensor has left
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Meadow.SensorHub
{
    internal sealed class RadioLink
    {
        private readonly byte[] ring = new byte[1536];
        private GCHandle pin;

        public IntPtr Open()
        {
            pin = GCHandle.Alloc(ring, GCHandleType.Pinned);
            return pin.AddrOfPinnedObject();
        }

        public unsafe void Receive(int sample)
        {
            var target = (byte*)pin.AddrOfPinnedObject();
            for (int i = 0; i < ring.Length; i++)
            {
                target[i] = (byte)(sample + i);
            }
        }

        public int Sum()
        {
            int sum = 0;
            foreach (byte value in ring)
            {
                sum += value;
            }

            return sum;
        }

        public void Close()
        {
            // The card is told on the control channel, see Hub.Leave.
        }
    }

    internal sealed class Sensor
    {
        public RadioLink Link = new RadioLink();
        public double[] Series = new double[900];
    }

    internal sealed class Hub
    {
        private readonly Dictionary<int, Sensor> present = new Dictionary<int, Sensor>();

        public long Readings;

        public int Seen;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Day(int sensors)
        {
            for (int i = 0; i < sensors; i++)
            {
                var sensor = new Sensor();
                present[Seen] = sensor;
                sensor.Link.Open();
                sensor.Link.Receive(Seen);
                sensor.Series[Seen % sensor.Series.Length] = sensor.Link.Sum();
                Readings++;
                Seen++;
            }

            GC.Collect();
            foreach (int id in new List<int>(present.Keys))
            {
                Leave(id);
            }
        }

        private void Leave(int id)
        {
            present[id].Link.Close();
            present.Remove(id);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var hub = new Hub();
            for (int day = 0; day < 5; day++)
            {
                hub.Day(1_400);
            }

            GC.Collect();
            new ConsoleHost(() => new Report().Add("seen", hub.Seen).Add("readings", hub.Readings)
                .Add("heap", Gauge.Heap())).Run();
        }
    }
}
