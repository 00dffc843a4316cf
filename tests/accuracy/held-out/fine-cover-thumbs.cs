// Covers for the library's search page: only weakly held once decoded, with the empty entries swept out now and then
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Lectern.Covers
{
    internal sealed class Cover
    {
        public Cover(int book)
        {
            Book = book;
            Pixels = new uint[96 * 64];
            for (int i = 0; i < Pixels.Length; i++)
            {
                Pixels[i] = (uint)(book * 2654435761L + i);
            }
        }

        public int Book { get; }

        public uint[] Pixels { get; }
    }

    internal static class CoverCache
    {
        private static readonly Dictionary<int, WeakReference<Cover>> Decoded = new Dictionary<int, WeakReference<Cover>>();
        private static int untilSweep = 500;

        public static int Entries => Decoded.Count;

        public static Cover Get(int book)
        {
            if (Decoded.TryGetValue(book, out WeakReference<Cover> weak))
            {
                if (!weak.TryGetTarget(out Cover known))
                {
                    weak.SetTarget(known = new Cover(book));
                }

                return known;
            }

            if (--untilSweep == 0)
            {
                Sweep();
            }

            var cover = new Cover(book);
            Decoded.Add(book, new WeakReference<Cover>(cover));
            return cover;
        }

        private static void Sweep()
        {
            foreach (int dead in Decoded.Where(entry => !entry.Value.TryGetTarget(out _)).Select(entry => entry.Key).ToList())
            {
                Decoded.Remove(dead);
            }

            untilSweep = 500;
        }
    }

    internal sealed class SearchPage
    {
        // What readers have on their screens.
        private readonly Cover[] shown = new Cover[1_400];
        private readonly Random readers = new Random(1439);
        private int next;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Browse(long covers)
        {
            for (long i = 0; i < covers; i++)
            {
                shown[next] = CoverCache.Get(readers.Next(90_000));
                next = (next + 1) % shown.Length;
            }
        }

        public int Shown() => shown.Count(cover => cover != null);
    }

    internal static class Program
    {
        private static void Main()
        {
            var page = new SearchPage();
            page.Browse(12_000);
            new ConsoleHost(() => new Report().Add("shown", page.Shown()).Add("entries", CoverCache.Entries)).On("serve", page.Browse).Run();
        }
    }
}
