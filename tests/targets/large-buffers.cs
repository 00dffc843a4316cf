// Whole documents are read into memory for the time of a conversion that has a long queue of its own.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Documents
{
    internal sealed class Conversion
    {
        public string Name;
        public byte[] Content;
    }

    internal sealed class Converter
    {
        private readonly List<Conversion> running = new List<Conversion>();

        public int Running => running.Count;

        public void Start(Conversion conversion) => running.Add(conversion);
    }

    internal static class Program
    {
        private const int Documents = 120;

        private static void Main()
        {
            var converter = new Converter();
            for (int i = 0; i < Documents; i++)
            {
                var content = new byte[2_000_000];
                for (int j = 0; j < content.Length; j += 512)
                {
                    content[j] = (byte)(i + j);
                }

                converter.Start(new Conversion { Name = "document-" + i, Content = content });
            }

            new ConsoleHost(() => new Report().Add("running", converter.Running)).Run();
        }
    }
}
