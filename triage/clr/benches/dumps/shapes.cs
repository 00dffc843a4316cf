// Heaps on which graph algorithms go wrong: `list N` (one list of N links), `dictionary N` (one dictionary of N entries),
// `cycles N` (N objects, each with eight references to any others: one knot), `cliques N` (N objects in hundreds, each with
// references to all others of its hundred), `star N` (one array of N objects that all lead back to its holder), `vine N` (a binary
// tree as deep as it can be). Says READY when it stands, then waits until its input closes.
using System;
using System.Collections.Generic;
using System.Globalization;

namespace Shop.Shapes
{
    internal sealed class Link
    {
        public Link Next;
        public Link Previous;
        public long Number;
    }

    internal sealed class Knot
    {
        public Knot A, B, C, D, E, F, G, H;
    }

    internal sealed class Member
    {
        public Member[] Others;
    }

    internal sealed class Star
    {
        public Ray[] Rays;

        public Star(int count)
        {
            Rays = new Ray[count];
            for (int i = 0; i < count; i++)
            {
                Rays[i] = new Ray { Center = this };
            }
        }
    }

    internal sealed class Ray
    {
        public Star Center;
    }

    internal sealed class Branch
    {
        public Branch Left, Right;
    }

    internal static class Program
    {
        public static object Kept;

        private static void Main(string[] arguments)
        {
            int count = int.Parse(arguments[1], CultureInfo.InvariantCulture);
            switch (arguments[0])
            {
                case "list": Kept = List(count); break;
                case "dictionary": Kept = Dictionary(count); break;
                case "cycles": Kept = Cycles(count); break;
                case "cliques": Kept = Cliques(count); break;
                case "star": Kept = new Star(count); break;
                case "vine": Kept = Vine(count); break;
                default: throw new ArgumentException(arguments[0]);
            }

            GC.Collect();
            GC.Collect();
            Console.WriteLine("READY {\"count\":" + count + "}");
            Console.In.ReadLine();
        }

        private static Link[] List(int count)
        {
            var first = new Link();
            Link last = first;
            for (int i = 1; i < count; i++)
            {
                var next = new Link { Previous = last, Number = i };
                last.Next = next;
                last = next;
            }

            // Held at both ends, as a cache that forgets the oldest is.
            return new[] { first, last };
        }

        private static Dictionary<long, Link> Dictionary(int count)
        {
            var all = new Dictionary<long, Link>();
            for (int i = 0; i < count; i++)
            {
                all.Add(i, new Link { Number = i });
            }

            return all;
        }

        private static Knot[] Cycles(int count)
        {
            var all = new Knot[count];
            for (int i = 0; i < count; i++)
            {
                all[i] = new Knot();
            }

            uint dice = 12_345;
            Knot Any()
            {
                // The runtime's own source of chance differs between versions.
                dice = dice * 1_664_525 + 1_013_904_223;
                return all[(int)(((ulong)dice * (ulong)count) >> 32)];
            }

            foreach (Knot knot in all)
            {
                knot.A = Any();
                knot.B = Any();
                knot.C = Any();
                knot.D = Any();
                knot.E = Any();
                knot.F = Any();
                knot.G = Any();
                knot.H = Any();
            }

            // Reached through one of them.
            return new[] { all[0] };
        }

        private static Member[] Cliques(int count)
        {
            const int Size = 100;
            var first = new Member[count / Size];
            for (int i = 0; i < first.Length; i++)
            {
                var all = new Member[Size];
                for (int k = 0; k < Size; k++)
                {
                    all[k] = new Member();
                }

                foreach (Member member in all)
                {
                    member.Others = (Member[])all.Clone();
                }

                first[i] = all[0];
            }

            return first;
        }

        private static Branch Vine(int count)
        {
            var top = new Branch();
            for (int i = 1; i + 1 < count; i += 2)
            {
                top = new Branch { Left = new Branch(), Right = top };
            }

            return top;
        }
    }
}
