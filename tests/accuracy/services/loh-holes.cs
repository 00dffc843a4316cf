// Short and long lived large arrays alternate; the short ones are gone
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Render
{
    internal sealed class Scene
    {
        private readonly List<float[]> meshes = new List<float[]>();

        public int Count => meshes.Count;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Load(int count)
        {
            var scratch = new List<float[]>();
            for (int i = 0; i < count; i++)
            {
                scratch.Add(new float[120_000]);
                meshes.Add(new float[25_000]);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var scene = new Scene();
            scene.Load(450);
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("meshes", scene.Count).Add("gc", Gauge.Heap())).Run();
            GC.KeepAlive(scene);
        }
    }
}
