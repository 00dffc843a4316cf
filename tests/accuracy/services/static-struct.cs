// A struct in a static field wraps the dictionary that grows
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Fleet
{
    internal struct Registry
    {
        public int Version;
        public Dictionary<int, Trip> Trips;
    }

    internal sealed class Trip
    {
        public double[] Track = new double[60];
        public string Vehicle;
    }

    internal static class Telemetry
    {
        private static Registry registry = new Registry { Trips = new Dictionary<int, Trip>() };

        public static int Count => registry.Trips.Count;

        public static void Add(int id)
        {
            registry.Version++;
            registry.Trips[id] = new Trip { Vehicle = "vehicle " + id };
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < Gauge.Scaled(150_000); i++)
            {
                Telemetry.Add(i);
            }

            new ConsoleHost(() => new Report().Add("trips", Telemetry.Count)).Run();
        }
    }
}
