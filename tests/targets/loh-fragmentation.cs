// Report pages are rendered into large buffers and dropped; a smaller preview of each, also a large object, is kept.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Shop.Reports
{
    internal sealed class PagePreview
    {
        public PagePreview(int page, byte[] pixels)
        {
            Page = page;
            Pixels = pixels;
        }

        public int Page { get; }

        public byte[] Pixels { get; }
    }

    internal sealed class PageRenderer
    {
        private const int PageBytes = 260_000;
        private const int PreviewBytes = 90_000;

        /// <summary>A rendered page lies in memory right before its preview.</summary>
        public PagePreview Render(int number, List<byte[]> pages)
        {
            pages.Add(Paint(PageBytes, number));
            return new PagePreview(number, Paint(PreviewBytes, number));
        }

        private static byte[] Paint(int bytes, int seed)
        {
            var pixels = new byte[bytes];
            for (int i = 0; i < pixels.Length; i += 512)
            {
                pixels[i] = (byte)(seed + i);
            }

            return pixels;
        }
    }

    internal static class Program
    {
        private static readonly int Pages = Gauge.Scaled(1_500);
        private static readonly Dictionary<int, PagePreview> Previews = new Dictionary<int, PagePreview>();

        private static void Main()
        {
            RenderAll();
            Gauge.Collect();
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("previews", Previews.Count)
                    .Add("least_loh_committed_bytes", 400_000_000)
                    .Add("least_loh_free_bytes", 300_000_000)
                    .Add("gc", Gauge.Heap()))
                .Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void RenderAll()
        {
            var renderer = new PageRenderer();
            var pages = new List<byte[]>();
            for (int number = 0; number < Pages; number++)
            {
                Previews.Add(number, renderer.Render(number, pages));
            }

            GC.KeepAlive(pages);
        }
    }
}
