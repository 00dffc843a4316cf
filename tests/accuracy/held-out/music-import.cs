// The catalogue is imported from the label's tab-separated file: each line brings its own copy of the same few names
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.CompilerServices;
using System.Text;
using Shop.Hosting;

namespace Discotheque.Catalogue
{
    internal class Track
    {
        public int Number;
        public TimeSpan Length;
        public string Label;
        public string Genre;
        public string Rights;
        public string Territory;
    }

    internal class Catalogue
    {
        private readonly List<Track> tracks = new List<Track>();

        public int Count => tracks.Count;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Import(TextReader file)
        {
            string line;
            while ((line = file.ReadLine()) != null)
            {
                string[] columns = line.Split('\t');
                tracks.Add(new Track
                {
                    Number = int.Parse(columns[0]),
                    Length = TimeSpan.FromSeconds(int.Parse(columns[1])),
                    Label = columns[2],
                    Genre = columns[3],
                    Rights = columns[4],
                    Territory = columns[5],
                });
            }
        }

        public IEnumerable<Track> OfGenre(string genre)
        {
            foreach (Track track in tracks)
            {
                if (track.Genre == genre)
                {
                    yield return track;
                }
            }
        }
    }

    internal class LabelFeed
    {
        private readonly string[] labels = { "Northern Lights Recordings Ltd.", "Deutsche Kammerton Gesellschaft", "Ediciones Musicales del Sur" };
        private readonly string[] genres = { "Electronic / Downtempo", "Classical / Chamber Music", "Latin / Tango Nuevo", "Jazz / Hard Bop" };
        private readonly string[] rights = { "All rights reserved by the original copyright owner", "Licensed for streaming and download only" };
        private readonly string[] territories = { "Worldwide except United States", "European Economic Area", "Latin America and Caribbean" };

        public TextReader Open(int firstNumber, int lines)
        {
            var text = new StringBuilder();
            for (int n = firstNumber; n < firstNumber + lines; n++)
            {
                text.Append(n).Append('\t').Append(120 + n % 300)
                    .Append('\t').Append(labels[n % 3])
                    .Append('\t').Append(genres[n / 3 % 4])
                    .Append('\t').Append(rights[n / 5 % 2])
                    .Append('\t').Append(territories[n / 7 % 3]).Append('\n');
            }

            return new StringReader(text.ToString());
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var catalogue = new Catalogue();
            var feed = new LabelFeed();
            for (int part = 0; part < 110; part++)
            {
                catalogue.Import(feed.Open(part * 1000, 1000));
            }

            GC.Collect();
            new ConsoleHost(() => new Report().Add("tracks", catalogue.Count)).Run();
        }
    }
}
