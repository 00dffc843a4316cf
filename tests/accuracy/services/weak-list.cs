// A list of weak references is never pruned
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Weak
{
    internal sealed class Widget
    {
        public int Id;
    }

    internal sealed class Watcher
    {
        private readonly List<WeakReference<Widget>> widgets = new List<WeakReference<Widget>>();

        public int Count => widgets.Count;

        public void Watch(int count)
        {
            for (int i = 0; i < count; i++)
            {
                widgets.Add(new WeakReference<Widget>(new Widget { Id = i }));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var watcher = new Watcher();
            watcher.Watch(220_000);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("widgets", watcher.Count)).Run();
            GC.KeepAlive(watcher);
        }
    }
}
