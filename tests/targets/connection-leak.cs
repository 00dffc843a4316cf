// A new HttpClient for every call of the payment provider, kept in case somebody needs it again.
using System;
using System.Collections.Generic;
using System.Net.Http;
using Shop.Hosting;

namespace Shop.Payments
{
    internal sealed class PaymentGateway
    {
        private readonly HttpClient client = new HttpClient { BaseAddress = new Uri("http://127.0.0.1:9/") };

        public Uri Address => client.BaseAddress;
    }

    internal static class Program
    {
        private const int Calls = 3_000;
        private static readonly List<PaymentGateway> Gateways = new List<PaymentGateway>();

        private static void Main()
        {
            for (int i = 0; i < Calls; i++)
            {
                Gateways.Add(new PaymentGateway());
            }

            new ConsoleHost(() => new Report().Add("clients", Gateways.Count)).Run();
        }
    }
}
