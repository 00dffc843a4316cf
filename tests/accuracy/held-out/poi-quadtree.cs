// Every leaf of a quadtree makes room for as much as the densest city has
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Alpineski.Maps
{
    internal readonly struct Box
    {
        public readonly double West, South, Size;

        public Box(double west, double south, double size)
        {
            West = west;
            South = south;
            Size = size;
        }

        public Box Quarter(int index) =>
            new Box(West + (index & 1) * Size / 2, South + (index >> 1) * Size / 2, Size / 2);

        public int Of(double lon, double lat) =>
            (lon >= West + Size / 2 ? 1 : 0) | (lat >= South + Size / 2 ? 2 : 0);
    }

    internal sealed class Place
    {
        public Place(long id, double lon, double lat)
        {
            Id = id;
            Lon = lon;
            Lat = lat;
        }

        public long Id { get; }

        public double Lon { get; }

        public double Lat { get; }
    }

    internal abstract class Node
    {
        public static Node Build(Box box, int depth) => depth == 0 ? (Node)new Leaf() : new Branch(box, depth);

        public abstract void Add(Place place);

        public abstract int CountLeaves();
    }

    internal sealed class Branch : Node
    {
        private readonly Box box;
        private readonly Node[] children = new Node[4];
        private readonly int depth;

        public Branch(Box box, int depth)
        {
            this.box = box;
            this.depth = depth;
        }

        public override void Add(Place place)
        {
            int index = box.Of(place.Lon, place.Lat);
            Node child = children[index] ?? (children[index] = Build(box.Quarter(index), depth - 1));
            child.Add(place);
        }

        public override int CountLeaves()
        {
            int leaves = 0;
            foreach (Node child in children) leaves += child?.CountLeaves() ?? 0;
            return leaves;
        }
    }

    internal sealed class Leaf : Node
    {
        // "Avoids resizing while the city loads." Measured in Tokyo, paid for on every meadow.
        private const int Expected = 400;
        private readonly Dictionary<long, Place> byId = new Dictionary<long, Place>(Expected);
        private readonly List<Place> inOrder = new List<Place>(Expected);

        public override void Add(Place place)
        {
            if (byId.TryAdd(place.Id, place))
            {
                inOrder.Add(place);
            }
        }

        public override int CountLeaves() => 1;
    }

    internal sealed class PlaceIndex
    {
        private readonly Node root = Node.Build(new Box(-180, -180, 360), 6);
        private readonly Random random = new Random(1848);

        public long Places { get; private set; }

        public int Leaves => root.CountLeaves();

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Load(long count)
        {
            for (long i = 0; i < count; i++)
            {
                double lon = random.NextDouble() * 360 - 180;
                double lat = random.NextDouble() * 360 - 180;
                root.Add(new Place(Places++, lon, lat));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var index = new PlaceIndex();
            index.Load(20_000);
            new ConsoleHost(() => new Report().Add("places", index.Places).Add("leaves", index.Leaves))
                .On("load", index.Load)
                .Run();
        }
    }
}
