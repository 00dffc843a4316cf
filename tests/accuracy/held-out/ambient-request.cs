// A timer for each tenant is started in a request, and with its execution context keeps that request's body
using System;
using System.Collections.Concurrent;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Proseware.Tenancy
{
    public sealed class RequestContext
    {
        private static readonly AsyncLocal<RequestContext> Ambient = new AsyncLocal<RequestContext>();

        public static RequestContext Current
        {
            get => Ambient.Value;
            set => Ambient.Value = value;
        }

        public string Tenant { get; set; }

        public StringBuilder Body { get; } = new StringBuilder();
    }

    public sealed class TenantSettings : IDisposable
    {
        private readonly Timer refresh;
        private int version;

        public TenantSettings(string tenant)
        {
            Tenant = tenant;
            refresh = new Timer(Refresh, null, TimeSpan.FromMinutes(30), TimeSpan.FromMinutes(30));
        }

        public string Tenant { get; }

        public int Version => version;

        public void Dispose() => refresh.Dispose();

        private void Refresh(object state) => Interlocked.Increment(ref version);
    }

    public sealed class TenantDirectory
    {
        private readonly ConcurrentDictionary<string, Lazy<TenantSettings>> tenants = new ConcurrentDictionary<string, Lazy<TenantSettings>>();

        public int Count => tenants.Count;

        public TenantSettings Of(string tenant) => tenants.GetOrAdd(tenant, name => new Lazy<TenantSettings>(() => new TenantSettings(name))).Value;
    }

    public static class Program
    {
        private static readonly TenantDirectory Directory = new TenantDirectory();
        private static int next;

        public static void Main()
        {
            Serve(350);
            new ConsoleHost(() => new Report().Add("tenants", Directory.Count)).On("serve", Serve).Run();
        }

        private static void Serve(long requests)
        {
            for (long i = 0; i < requests; i++)
            {
                var number = next++;
                Task.Run(() => HandleAsync(number)).GetAwaiter().GetResult();
            }
        }

        private static async Task HandleAsync(int number)
        {
            RequestContext.Current = new RequestContext { Tenant = "tenant-" + number };
            for (int line = 0; line < 2_000; line++)
            {
                RequestContext.Current.Body.Append("{\"line\":").Append(line).Append(",\"article\":\"").Append(number * 31 + line).Append("\",\"quantity\":1,\"remark\":\"none\"},");
            }

            await Task.Yield();
            Directory.Of(RequestContext.Current.Tenant);
        }
    }
}
