// All postcodes of the country are in memory, loaded once, in a static field, and asked all day
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Consolidated.Addresses
{
    internal sealed class Street
    {
        public Street(string postcode, double lon, double lat, ushort first, ushort last)
        {
            Postcode = postcode;
            Lon = lon;
            Lat = lat;
            First = first;
            Last = last;
        }

        public string Postcode { get; }

        public double Lon { get; }

        public double Lat { get; }

        public ushort First { get; }

        public ushort Last { get; }
    }

    /// <summary>Reference data: it is what the service is for.</summary>
    internal static class PostcodeFile
    {
        public static readonly IReadOnlyDictionary<string, Street> Streets = Load(400_000);

        private static IReadOnlyDictionary<string, Street> Load(int count)
        {
            var streets = new Dictionary<string, Street>(count, StringComparer.Ordinal);
            var random = new Random(1_001);
            for (int i = 0; i < count; i++)
            {
                string postcode = Format(i);
                ushort first = (ushort)random.Next(1, 200);
                streets.Add(postcode, new Street(
                    postcode, 3.3 + random.NextDouble() * 4, 50.7 + random.NextDouble() * 3, first, (ushort)(first + 40)));
            }

            return streets;
        }

        internal static string Format(int number) =>
            string.Create(6, number, (text, n) =>
            {
                text[5] = (char)('A' + n % 26);
                text[4] = (char)('A' + n / 26 % 26);
                int digits = 1_000 + n / 676;
                for (int i = 3; i >= 0; i--, digits /= 10) text[i] = (char)('0' + digits % 10);
            });
    }

    internal readonly struct Query
    {
        public Query(string postcode, int house)
        {
            Postcode = postcode;
            House = house;
        }

        public string Postcode { get; }

        public int House { get; }
    }

    internal sealed class AddressApi
    {
        private readonly Random random = new Random();

        public long Asked { get; private set; }

        public long Found { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Serve(long requests)
        {
            for (long i = 0; i < requests; i++)
            {
                Asked++;
                var query = new Query(PostcodeFile.Format(random.Next(500_000)), random.Next(1, 240));
                if (PostcodeFile.Streets.TryGetValue(query.Postcode, out Street street)
                    && query.House >= street.First && query.House <= street.Last)
                {
                    Found++;
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var api = new AddressApi();
            api.Serve(200_000);
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("streets", PostcodeFile.Streets.Count)
                    .Add("asked", api.Asked)
                    .Add("found", api.Found))
                .On("serve", api.Serve)
                .Run();
        }
    }
}
