// What a process can know about its own memory, on every runtime.
using System;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime;

namespace Shop.Hosting
{
    internal static class Gauge
    {
        /// <summary>Version, collector and collection counts.</summary>
        public static Report Runtime() => new Report()
            .Add("version", Environment.Version.ToString())
            .Add("pid", System.Diagnostics.Process.GetCurrentProcess().Id)
            .Add("server_gc", GCSettings.IsServerGC)
            .Add("gen0_collections", GC.CollectionCount(0))
            .Add("gen1_collections", GC.CollectionCount(1))
            .Add("gen2_collections", GC.CollectionCount(2));

        /// <summary>GC.GetGCMemoryInfo as of the last collection; per generation where the runtime tells (5 and later).</summary>
        public static Report Heap()
        {
            GCMemoryInfo info = GC.GetGCMemoryInfo();
            Report report = new Report()
                .Add("heap_bytes", info.HeapSizeBytes)
                .Add("fragmented_bytes", info.FragmentedBytes)
                .Add("total_memory_bytes", GC.GetTotalMemory(false));
            Func<object, int, long> size = Generation("SizeAfterBytes");
            if (size == null)
            {
                return report;
            }

            Func<object, int, long> fragmentation = Generation("FragmentationAfterBytes");
            string[] names = { "gen0", "gen1", "gen2", "loh", "poh" };
            for (int i = 0; i < names.Length; i++)
            {
                report.Add(names[i] + "_bytes", size(info, i));
                report.Add(names[i] + "_fragmented_bytes", fragmentation(info, i));
            }

            long committed = (long)typeof(GCMemoryInfo).GetProperty("TotalCommittedBytes").GetValue(info);
            return report.Add("committed_bytes", committed);
        }

        /// <summary>info.GenerationInfo[i].PROPERTY. The span cannot pass through reflection, so a method is made.</summary>
        private static Func<object, int, long> Generation(string property)
        {
            PropertyInfo generations = typeof(GCMemoryInfo).GetProperty("GenerationInfo");
            if (generations == null)
            {
                return null;
            }

            Type span = generations.PropertyType;
            Type generation = span.GetGenericArguments()[0];
            var method = new DynamicMethod("Generation", typeof(long), new[] { typeof(object), typeof(int) }, typeof(Gauge).Module, true);
            ILGenerator il = method.GetILGenerator();
            il.DeclareLocal(span);
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Unbox, typeof(GCMemoryInfo));
            il.Emit(OpCodes.Call, generations.GetMethod);
            il.Emit(OpCodes.Stloc_0);
            il.Emit(OpCodes.Ldloca_S, (byte)0);
            il.Emit(OpCodes.Ldarg_1);
            il.Emit(OpCodes.Call, span.GetMethod("get_Item"));
            il.Emit(OpCodes.Call, generation.GetProperty(property).GetMethod);
            il.Emit(OpCodes.Ret);
            return (Func<object, int, long>)method.CreateDelegate(typeof(Func<object, int, long>));
        }

        /// <summary>A size of the fault, or the percentage of it that SHOP_PERCENT asks for: small heaps are read fast.</summary>
        public static int Scaled(int size)
        {
            string percent = Environment.GetEnvironmentVariable("SHOP_PERCENT");
            return percent == null ? size : Math.Max(1, (int)(size * long.Parse(percent) / 100));
        }

        /// <summary>A full blocking collection that keeps objects where they are.</summary>
        public static void Collect() => GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: false);
    }
}
