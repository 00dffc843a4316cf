// Previews that are kept are made between page images that are not, and the large object heap is left full of holes
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Margies.Documents
{
    internal sealed class PageImage
    {
        private readonly uint[] pixels;

        public PageImage(int width, int height)
        {
            Width = width;
            Height = height;
            pixels = new uint[width * height];
        }

        public int Width { get; }

        public int Height { get; }

        public void Paint(uint ink)
        {
            for (int i = 0; i < pixels.Length; i += 17) pixels[i] = ink;
        }

        public uint At(int x, int y) => pixels[y * Width + x];
    }

    internal sealed class Preview
    {
        private readonly uint[] pixels;

        public Preview(PageImage page, int factor)
        {
            int width = page.Width / factor;
            int height = page.Height / factor;
            pixels = new uint[width * height];
            for (int y = 0; y < height; y++)
            {
                for (int x = 0; x < width; x++) pixels[y * width + x] = page.At(x * factor, y * factor);
            }
        }

        public int Bytes => pixels.Length * sizeof(uint);
    }

    internal interface IConverter
    {
        IEnumerable<Preview> Convert(int document, int pages);
    }

    internal sealed class RasterConverter : IConverter
    {
        public IEnumerable<Preview> Convert(int document, int pages)
        {
            // All pages first, for some formats refer to later ones; their previews come out as pages are rendered.
            var rendered = new List<PageImage>(pages);
            var previews = new List<Preview>(pages);
            for (int number = 0; number < pages; number++)
            {
                var page = new PageImage(440, 620);
                page.Paint((uint)(document * 1_000 + number));
                rendered.Add(page);
                previews.Add(new Preview(page, 3));
            }

            return previews;
        }
    }

    internal sealed class Archive
    {
        private readonly Dictionary<int, List<Preview>> previews = new Dictionary<int, List<Preview>>();

        public long PreviewBytes { get; private set; }

        public int Documents => previews.Count;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Take(IConverter converter, int pages)
        {
            int document = previews.Count;
            var kept = new List<Preview>(converter.Convert(document, pages));
            previews.Add(document, kept);
            foreach (Preview preview in kept) PreviewBytes += preview.Bytes;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var archive = new Archive();
            var converter = new RasterConverter();
            archive.Take(converter, 90);
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("documents", archive.Documents)
                    .Add("preview_bytes", archive.PreviewBytes)
                    .Add("heap", Gauge.Heap()))
                .On("convert", pages => archive.Take(converter, (int)pages))
                .Run();
        }
    }
}
