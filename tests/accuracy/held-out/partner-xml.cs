// A serializer with overrides is made for each export, and the framework emits an assembly for each of them
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Xml;
using System.Xml.Serialization;
using Shop.Hosting;

namespace Lucerne.Exchange
{
    public class Party
    {
        public string Code { get; set; }

        public string Port { get; set; }
    }

    public class Consignment
    {
        public Guid Id { get; set; }

        public Party From { get; set; }

        public Party To { get; set; }

        public decimal Weight { get; set; }

        [XmlArrayItem("Box")]
        public List<int> Boxes { get; set; } = new List<int>();
    }

    internal interface IPartnerFormat
    {
        string Partner { get; }

        XmlRootAttribute Root { get; }
    }

    internal sealed class RootedFormat : IPartnerFormat
    {
        public RootedFormat(string partner) => Partner = partner;

        public string Partner { get; }

        public XmlRootAttribute Root => new XmlRootAttribute("Message") { Namespace = "urn:partner:" + Partner };
    }

    internal sealed class Exporter
    {
        public long Bytes { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Export(IPartnerFormat format, Consignment consignment)
        {
            // The constructors that take more than a type and a namespace keep nothing for the next caller.
            var serializer = new XmlSerializer(typeof(Consignment), format.Root);
            using (var stream = new MemoryStream())
            using (var writer = XmlWriter.Create(stream))
            {
                serializer.Serialize(writer, consignment);
                writer.Flush();
                Bytes += stream.Length;
            }
        }
    }

    internal static class Program
    {
        private static readonly string[] Partners = { "maersk", "cosco", "evergreen", "one" };

        private static void Main()
        {
            var exporter = new Exporter();
            var exports = 0;
            void Serve(long n)
            {
                for (long i = 0; i < n; i++)
                {
                    exporter.Export(new RootedFormat(Partners[exports++ % Partners.Length]), new Consignment
                    {
                        Id = Guid.NewGuid(),
                        From = new Party { Code = "A" + i, Port = "HKG" },
                        To = new Party { Code = "B" + i, Port = "RTM" },
                        Weight = 12.5m * i,
                        Boxes = Enumerable.Range(0, 5).ToList(),
                    });
                }
            }

            Serve(250);
            new ConsoleHost(() => new Report()
                    .Add("exports", exports)
                    .Add("bytes", exporter.Bytes)
                    .Add("assemblies", AppDomain.CurrentDomain.GetAssemblies().Length))
                .On("serve", Serve)
                .Run();
        }
    }
}
