// A new HttpClient for every call is put aside and not disposed
using System;
using System.Collections.Generic;
using System.Net.Http;
using Shop.Hosting;

namespace Acme.Rest
{
    internal sealed class Caller
    {
        private readonly List<HttpClient> used = new List<HttpClient>();

        public int Count => used.Count;

        public void Call(int count)
        {
            for (int i = 0; i < count; i++)
            {
                var client = new HttpClient { BaseAddress = new Uri("http://127.0.0.1:9/") };
                client.DefaultRequestHeaders.Add("X-Request", "r" + i);
                used.Add(client);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var caller = new Caller();
            caller.Call(800);
            new ConsoleHost(() => new Report().Add("clients", caller.Count)).Run();
            GC.KeepAlive(caller);
        }
    }
}
