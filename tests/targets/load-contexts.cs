// Plug-ins are loaded anew for every job, and a history of the jobs' results keeps each copy of them.
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Runtime.Loader;
using Shop.Hosting;

namespace Shop.Plugins
{
    internal sealed class PluginContext : AssemblyLoadContext
    {
        public PluginContext()
            : base("plugin", isCollectible: true)
        {
        }

        protected override Assembly Load(AssemblyName name) => null;
    }

    public sealed class Result
    {
        private static readonly byte[] Table = new byte[200_000];

        public int Size => Table.Length;
    }

    internal static class Program
    {
        private const int Jobs = 50;
        private static readonly List<object> History = new List<object>();

        private static void Main()
        {
            string path = typeof(Program).Assembly.Location;
            for (int i = 0; i < Jobs; i++)
            {
                Assembly plugin = new PluginContext().LoadFromAssemblyPath(path);
                History.Add(Activator.CreateInstance(plugin.GetType("Shop.Plugins.Result")));
            }

            new ConsoleHost(() => new Report().Add("results", History.Count))
                .On("unload", _ => Unload())
                .Run();
        }

        /// <summary>In 3.1 nobody refers to the contexts' own objects, and their finalizers do it.</summary>
        private static void Unload()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            foreach (object result in Environment.Version.Major < 5 ? new List<object>() : History)
            {
                AssemblyLoadContext.GetLoadContext(result.GetType().Assembly).Unload();
            }
        }
    }
}
