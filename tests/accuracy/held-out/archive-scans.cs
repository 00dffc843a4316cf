// Scans of newspaper pages are large arrays of every size; between them lie the text layers, which stay for the reading room
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Morgue.Archive
{
    internal readonly struct PageId
    {
        public readonly int Year;
        public readonly int Issue;
        public readonly int Page;

        public PageId(int year, int issue, int page)
        {
            Year = year;
            Issue = issue;
            Page = page;
        }
    }

    internal sealed class TextLayer
    {
        public PageId Id;
        public byte[] Glyphs;
    }

    internal sealed class ReadingRoom
    {
        private readonly List<TextLayer> layers = new List<TextLayer>();

        public int Layers => layers.Count;

        public long Bytes
        {
            get
            {
                long sum = 0;
                foreach (TextLayer layer in layers)
                {
                    sum += layer.Glyphs.Length;
                }

                return sum;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Digitise(int year, int pages)
        {
            var scans = new List<byte[]>();
            for (int page = 0; page < pages; page++)
            {
                byte[] scan = Scan(page);
                scans.Add(scan);
                layers.Add(new TextLayer { Id = new PageId(year, page / 24, page % 24), Glyphs = Recognise(scan) });
            }

            Publish(scans);
        }

        private static byte[] Scan(int page)
        {
            var pixels = new byte[180_000 + page * 7919 % 140_000];
            for (int i = 0; i < pixels.Length; i++)
            {
                pixels[i] = (byte)(i * 31 + page);
            }

            return pixels;
        }

        private static byte[] Recognise(byte[] scan)
        {
            var glyphs = new byte[88_000];
            Array.Copy(scan, 1000, glyphs, 0, glyphs.Length);
            return glyphs;
        }

        private static void Publish(List<byte[]> scans)
        {
            // They are on the image server now.
            scans.Clear();
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var room = new ReadingRoom();
            room.Digitise(1923, 360);
            GC.Collect();
            GC.Collect();
            new ConsoleHost(() => new Report().Add("layers", room.Layers).Add("layer_bytes", room.Bytes).Add("heap", Gauge.Heap())).Run();
        }
    }
}
