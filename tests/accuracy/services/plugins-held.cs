// Plug-ins were unloaded, but a static event still holds a handler of each
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using Shop.Hosting;

namespace Acme.Plugins
{
    public static class Bus
    {
        private static readonly List<Delegate> Handlers = new List<Delegate>();

        public static int Count => Handlers.Count;

        public static void Add(Delegate handler) => Handlers.Add(handler);
    }

    public sealed class Plugin
    {
        public void OnTick() => GC.KeepAlive(this);
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 30; i++)
            {
                Load(i);
            }

            GC.Collect();
            new ConsoleHost(() => new Report().Add("handlers", Bus.Count)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Load(int i)
        {
            var context = new AssemblyLoadContext("plugin " + i, isCollectible: true);
            Assembly copy = context.LoadFromAssemblyPath(typeof(Program).Assembly.Location);
            object plugin = Activator.CreateInstance(copy.GetType("Acme.Plugins.Plugin"));
            Bus.Add(Delegate.CreateDelegate(typeof(Action), plugin, "OnTick"));
            context.Unload();
        }
    }
}
