// Latency is kept for every path that was ever asked for, query string and all
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Contoso.Gateway
{
    public sealed class HttpRequest
    {
        public string Method { get; set; }
        public string Path { get; set; }
        public string QueryString { get; set; }
        public IDictionary<string, string> Headers { get; } = new Dictionary<string, string>();
    }

    public sealed class HttpContext
    {
        public HttpRequest Request { get; } = new HttpRequest();
        public IDictionary<string, object> Items { get; } = new Dictionary<string, object>();
        public int StatusCode { get; set; }
    }

    public delegate Task RequestDelegate(HttpContext context);

    public interface IMiddleware
    {
        Task InvokeAsync(HttpContext context, RequestDelegate next);
    }

    public sealed class LatencyHistogram
    {
        private readonly long[] buckets = new long[32];

        public void Observe(TimeSpan elapsed)
        {
            var bucket = Math.Min(31, (int)Math.Log(1 + elapsed.TotalMilliseconds * 1000, 2));
            buckets[bucket]++;
        }

        public long Total => buckets.Sum();
    }

    public sealed class MetricsMiddleware : IMiddleware
    {
        private readonly ConcurrentDictionary<string, LatencyHistogram> routes = new ConcurrentDictionary<string, LatencyHistogram>();

        public int Routes => routes.Count;

        public async Task InvokeAsync(HttpContext context, RequestDelegate next)
        {
            var watch = Stopwatch.StartNew();
            try
            {
                await next(context);
            }
            finally
            {
                var key = $"{context.Request.Method} {context.Request.Path}{context.Request.QueryString}";
                routes.GetOrAdd(key, _ => new LatencyHistogram()).Observe(watch.Elapsed);
            }
        }
    }

    public sealed class TraceMiddleware : IMiddleware
    {
        public Task InvokeAsync(HttpContext context, RequestDelegate next)
        {
            context.Items["trace"] = Guid.NewGuid().ToString("n");
            return next(context);
        }
    }

    public sealed class ApplicationBuilder
    {
        private readonly List<Func<RequestDelegate, RequestDelegate>> components = new List<Func<RequestDelegate, RequestDelegate>>();

        public ApplicationBuilder Use(IMiddleware middleware)
        {
            components.Add(next => context => middleware.InvokeAsync(context, next));
            return this;
        }

        public RequestDelegate Build(RequestDelegate end)
        {
            return Enumerable.Reverse(components).Aggregate(end, (next, component) => component(next));
        }
    }

    internal static class Program
    {
        private static async Task<int> Main()
        {
            var metrics = new MetricsMiddleware();
            var app = new ApplicationBuilder().Use(new TraceMiddleware()).Use(metrics).Build(Handle);
            var random = new Random(7);
            await Serve(app, random, 40_000);
            new ConsoleHost(() => new Report().Add("routes", metrics.Routes))
                .On("serve", count => Serve(app, random, count).GetAwaiter().GetResult())
                .Run();
            return 0;
        }

        private static Task Handle(HttpContext context)
        {
            context.StatusCode = 200;
            return Task.CompletedTask;
        }

        private static async Task Serve(RequestDelegate app, Random random, long count)
        {
            for (long i = 0; i < count; i++)
            {
                var context = new HttpContext();
                context.Request.Method = "GET";
                context.Request.Path = "/api/products/search";
                context.Request.QueryString = $"?q=shoes&session={random.Next():x8}{random.Next():x8}&page={i % 10}";
                context.Request.Headers["User-Agent"] = "Mozilla/5.0";
                await app(context);
            }
        }
    }
}
