// The tariff module comes from the database as bytes, and every quotation loads it again
using System;
using System.IO;
using System.Reflection;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Litware.Tariffs
{
    /// <summary>What the module exports. It is a part of this program, for the service has to bring one of its own.</summary>
    public sealed class ZoneTariff
    {
        private static readonly double[] Matrix = Build();

        public double Quote(int zone, double kilograms) => Matrix[zone % Matrix.Length] * kilograms;

        private static double[] Build()
        {
            var matrix = new double[8_192];
            for (var i = 0; i < matrix.Length; i++) matrix[i] = 1 + Math.Sqrt(i);
            return matrix;
        }
    }

    internal interface IModuleStore
    {
        byte[] Fetch(string module);
    }

    internal sealed class ImageStore : IModuleStore
    {
        private readonly byte[] image = File.ReadAllBytes(typeof(ImageStore).Assembly.Location);

        public byte[] Fetch(string module) => image;
    }

    internal readonly struct QuoteRequest
    {
        public QuoteRequest(int zone, double kilograms)
        {
            Zone = zone;
            Kilograms = kilograms;
        }

        public int Zone { get; }

        public double Kilograms { get; }
    }

    internal sealed class TariffEngine
    {
        private readonly IModuleStore store;

        public TariffEngine(IModuleStore store) => this.store = store;

        public int Quotes { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public double Quote(QuoteRequest request)
        {
            // "Always the newest tariff": the module is asked for and loaded for each quotation.
            Assembly module = Assembly.Load(store.Fetch("zone-tariff"));
            Type type = module.GetType("Litware.Tariffs.ZoneTariff", throwOnError: true);
            object tariff = Activator.CreateInstance(type);
            Quotes++;
            return (double)type.GetMethod("Quote").Invoke(tariff, new object[] { request.Zone, request.Kilograms });
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var engine = new TariffEngine(new ImageStore());
            double total = 0;
            void Serve(long n)
            {
                for (var i = 0; i < n; i++) total += engine.Quote(new QuoteRequest(i, 2.5));
            }

            Serve(600);
            new ConsoleHost(() => new Report()
                    .Add("quotes", engine.Quotes)
                    .Add("assemblies", AppDomain.CurrentDomain.GetAssemblies().Length))
                .On("serve", Serve)
                .Run();
        }
    }
}
