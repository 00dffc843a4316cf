// A timer for every tenant that ever logged in refreshes what nobody looks at any more
using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Shop.Hosting;

namespace Tailspin.Tenants
{
    internal class TenantSettings
    {
        public string Name { get; set; }
        public Dictionary<string, string> Values { get; set; }
    }

    internal class SettingsRefresher
    {
        public void Watch(TenantSettings settings, TimeSpan interval)
        {
            var revision = 0;
            _ = new Timer(state =>
            {
                revision++;
                settings.Values["revision"] = revision.ToString();
            }, null, interval, interval);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var refresher = new SettingsRefresher();
            foreach (var id in Enumerable.Range(1, 8_000))
            {
                var values = Enumerable.Range(0, 12).ToDictionary(i => $"setting{i}", i => $"value {id}/{i}");
                refresher.Watch(new TenantSettings { Name = $"tenant-{id}", Values = values }, TimeSpan.FromMinutes(15));
            }

            new ConsoleHost(() => new Report().Add("tenants", 8_000)).Run();
        }
    }
}
