// Each reload of the routes wraps the pipeline that is there instead of building a new one
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Fineartschool.Edge
{
    internal delegate Task Handler(Exchange exchange);

    internal sealed class Exchange
    {
        public string Path;
        public int Status;
        public int Hops;
    }

    internal interface IPipelineBuilder
    {
        IPipelineBuilder Use(Func<Handler, Handler> middleware);
    }

    internal sealed class RouteTable
    {
        private readonly ushort[] trie;

        public RouteTable(int revision, int states)
        {
            Revision = revision;
            trie = new ushort[states];
            for (int i = 0; i < states; i++) trie[i] = (ushort)(i * 31 + revision);
        }

        public int Revision { get; }

        public int Find(string path)
        {
            int state = 0;
            foreach (char c in path) state = trie[(state + c) % trie.Length] % trie.Length;
            return state;
        }
    }

    internal sealed class Pipeline : IPipelineBuilder
    {
        private Handler head = exchange =>
        {
            exchange.Status = 404;
            return Task.CompletedTask;
        };

        public IPipelineBuilder Use(Func<Handler, Handler> middleware)
        {
            head = middleware(head);
            return this;
        }

        public Task InvokeAsync(Exchange exchange) => head(exchange);
    }

    internal static class Routing
    {
        public static IPipelineBuilder UseRoutes(this IPipelineBuilder builder, RouteTable table) =>
            builder.Use(next => exchange =>
            {
                exchange.Hops++;
                if (table.Find(exchange.Path) == -1)
                {
                    return next(exchange);
                }

                exchange.Status = 200;
                return Task.CompletedTask;
            });
    }

    internal abstract class HostedService
    {
        public abstract void Start();
    }

    internal sealed class RouteReloader : HostedService
    {
        private readonly Pipeline pipeline;
        private int revision;

        public RouteReloader(Pipeline pipeline) => this.pipeline = pipeline;

        public int Revision => revision;

        public override void Start() => Reload(400);

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Reload(long times)
        {
            for (long i = 0; i < times; i++) pipeline.UseRoutes(new RouteTable(++revision, 40_000));
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var pipeline = new Pipeline();
            var reloader = new RouteReloader(pipeline);
            var services = new List<HostedService> { reloader };
            services.ForEach(service => service.Start());
            var exchange = new Exchange { Path = "/images/7" };
            pipeline.InvokeAsync(exchange).GetAwaiter().GetResult();
            new ConsoleHost(() => new Report()
                    .Add("revision", reloader.Revision)
                    .Add("status", exchange.Status)
                    .Add("hops", exchange.Hops))
                .On("reload", reloader.Reload)
                .Run();
        }
    }
}
