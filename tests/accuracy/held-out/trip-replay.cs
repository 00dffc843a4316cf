// The dispatcher's loop sorts trips into a tree to find neighbours of a new one, and takes none out when a trip ends
using System;
using Shop.Hosting;

namespace Roadrunner.Fleet
{
    internal sealed class Trip
    {
        public string Plate;
        public double Kilometres;
        public bool Ended;
        public int[] Stops;
    }

    internal sealed class TripTree
    {
        private sealed class Node
        {
            public ulong Place;
            public uint Priority;
            public Trip Trip;
            public Node Left, Right;
        }

        private Node root;
        private uint dice = 2463534242;

        public int Count { get; private set; }

        public void Add(ulong place, Trip trip)
        {
            dice = dice * 1664525 + 1013904223;
            root = Insert(root, new Node { Place = place, Priority = dice, Trip = trip });
            Count++;
        }

        public Trip Nearest(ulong place)
        {
            Node best = null;
            for (Node node = root; node != null; node = place < node.Place ? node.Left : node.Right)
            {
                if (best == null || Distance(node.Place, place) < Distance(best.Place, place))
                {
                    best = node;
                }
            }

            return best?.Trip;
        }

        private static ulong Distance(ulong a, ulong b) => a < b ? b - a : a - b;

        private static Node Insert(Node at, Node node)
        {
            if (at == null)
            {
                return node;
            }

            if (node.Place < at.Place)
            {
                at.Left = Insert(at.Left, node);
                return at.Left.Priority > at.Priority ? RotateRight(at) : at;
            }

            at.Right = Insert(at.Right, node);
            return at.Right.Priority > at.Priority ? RotateLeft(at) : at;
        }

        private static Node RotateRight(Node at)
        {
            Node up = at.Left;
            (at.Left, up.Right) = (up.Right, at);
            return up;
        }

        private static Node RotateLeft(Node at)
        {
            Node up = at.Right;
            (at.Right, up.Left) = (up.Left, at);
            return up;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var trips = new TripTree();
            var random = new Random(4711);
            double shared = 0;

            void Dispatch(long count)
            {
                for (long i = 0; i < count; i++)
                {
                    ulong place = ((ulong)random.Next() << 20) ^ (ulong)random.Next();
                    var trip = new Trip { Plate = "RR" + random.Next(10_000, 99_999), Stops = new int[20], Kilometres = 4 + random.NextDouble() };
                    Trip neighbour = trips.Nearest(place);
                    shared += neighbour == null ? 0 : Math.Min(neighbour.Kilometres, trip.Kilometres);
                    trips.Add(place, trip);
                    trip.Ended = true;
                }
            }

            Dispatch(100_000);
            new ConsoleHost(() => new Report().Add("trips", trips.Count).Add("shared_km", (long)shared)).On("serve", Dispatch).Run();
        }
    }
}
