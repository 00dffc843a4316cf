// A small HTTP service on loopback with a few megabytes of baskets, and a thread that does nothing but look at the clock:
// the longest time between two looks is the longest time that the process stood still (or had no processor).
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Shop.Checkout
{
    internal sealed class Basket
    {
        public string Customer;
        public string[] Lines;
        public byte[] Signature;
    }

    internal static class Program
    {
        private const int Baskets = 4_096;

        private static readonly ConcurrentDictionary<int, Basket> Open = new ConcurrentDictionary<int, Basket>();
        private static readonly List<Basket> past = new List<Basket>();
        private static long kept;
        private static long answered;
        private static long failed;
        private static long longestGapMicroseconds;

        private static void Main()
        {
            for (int i = 0; i < Baskets; i++)
            {
                Open[i] = Fill(i);
            }

            int port = FreePort();
            var listener = new HttpListener();
            listener.Prefixes.Add("http://127.0.0.1:" + port + "/");
            listener.Start();
            Task.Run(() => Serve(listener));
            var clock = new Thread(Watch) { IsBackground = true, Name = "clock" };
            clock.Start();
            new ConsoleHost(() => Describe(port))
                .On("forget", _ => Interlocked.Exchange(ref longestGapMicroseconds, 0))
                .On("grow", Grow)
                .On("crash", _ => new Thread(() => throw new InvalidOperationException("As asked for.")).Start())
                .Run();
        }

        private static int FreePort()
        {
            var probe = new TcpListener(IPAddress.Loopback, 0);
            probe.Start();
            int port = ((IPEndPoint)probe.LocalEndpoint).Port;
            probe.Stop();
            return port;
        }

        private static async Task Serve(HttpListener listener)
        {
            while (true)
            {
                HttpListenerContext context = await listener.GetContextAsync();
                _ = Task.Run(() => Answer(context));
            }
        }

        private static void Answer(HttpListenerContext context)
        {
            try
            {
                int.TryParse(context.Request.Url.AbsolutePath.TrimStart('/'), out int number);
                int key = number % Baskets;
                Basket basket = Open[key] = Fill(key);
                byte[] body = Encoding.UTF8.GetBytes(number + " " + basket.Lines.Length + "\n");
                context.Response.ContentLength64 = body.Length;
                context.Response.OutputStream.Write(body, 0, body.Length);
                context.Response.Close();
                Interlocked.Increment(ref answered);
            }
            catch (Exception error) when (error is HttpListenerException || error is IOException || error is ObjectDisposedException)
            {
                Interlocked.Increment(ref failed);
            }
        }

        private static Basket Fill(int key)
        {
            var basket = new Basket { Customer = "customer-" + key, Lines = new string[8], Signature = new byte[512] };
            for (int i = 0; i < basket.Lines.Length; i++)
            {
                basket.Lines[i] = "line " + (key + i) % 700;
            }

            return basket;
        }

        /// <summary>Baskets of the past that stay: objects, references, text and documents, as services have them.</summary>
        private static void Grow(long megabytes)
        {
            var random = new Random(7);
            long until = kept + megabytes * 1_000_000;
            while (kept < until)
            {
                var basket = new Basket { Customer = "customer-" + random.Next(1_000_000), Lines = new string[8] };
                var document = new StringBuilder("{\"customer\":\"").Append(basket.Customer).Append("\",\"lines\":[");
                for (int i = 0; i < basket.Lines.Length; i++)
                {
                    basket.Lines[i] = "line " + random.Next(50_000);
                    document.Append("{\"article\":\"").Append(basket.Lines[i]).Append("\",\"cents\":").Append(random.Next(9_999)).Append("},");
                    kept += 32 + 2 * basket.Lines[i].Length;
                }

                basket.Signature = Encoding.UTF8.GetBytes(document.Append("]}").ToString());
                kept += 200 + basket.Signature.Length;
                past.Add(basket);
            }
        }

        private static void Watch()
        {
            long last = Stopwatch.GetTimestamp();
            while (true)
            {
                Thread.Sleep(1);
                long now = Stopwatch.GetTimestamp();
                long gap = (now - last) * 1_000_000 / Stopwatch.Frequency;
                last = now;
                if (gap > Interlocked.Read(ref longestGapMicroseconds))
                {
                    Interlocked.Exchange(ref longestGapMicroseconds, gap);
                }
            }
        }

        private static Report Describe(int port) => new Report()
            .Add("runtime", Gauge.Runtime())
            .Add("port", port)
            .Add("answered", Interlocked.Read(ref answered))
            .Add("failed", Interlocked.Read(ref failed))
            .Add("longest_gap_us", Interlocked.Read(ref longestGapMicroseconds));
    }
}
