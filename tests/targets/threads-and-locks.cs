// Known numbers of what a runtime keeps beside objects: threads, locks, exceptions, load contexts, collections, its settings.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Threading;
using Shop.Hosting;

namespace Shop.Floor
{
    internal sealed class Till
    {
        public int Number;
    }

    /// <summary>Its finalizer waits for a lock that the main thread never gives back.</summary>
    internal sealed class JammedDrawer
    {
        public static readonly object Key = new object();
        public static readonly ManualResetEventSlim Jammed = new ManualResetEventSlim();

        ~JammedDrawer()
        {
            Jammed.Set();
            lock (Key)
            {
            }
        }
    }

    internal sealed class Receipt
    {
        public int Number;

        ~Receipt()
        {
            Number = -1;
        }
    }

    internal sealed class StockException : InvalidOperationException
    {
        public StockException(string message)
            : base(message)
        {
            HResult = unchecked((int)0x80131234);
        }
    }

    internal struct Badge
    {
        public int Number;
        public Till Till;
    }

    internal static class PerThread<T>
    {
        [ThreadStatic]
        public static T Held;

        [ThreadStatic]
        public static Badge Badge;

        [ThreadStatic]
        public static Till Own;
    }

    /// <summary>Statics of a class that is also loaded into a collectible context.</summary>
    internal static class PluginState
    {
        public static Till Till = new Till { Number = 77 };
        public static Badge Badge = new Badge { Number = 78, Till = Till };

        [ThreadStatic]
        public static Till OfThread;

        public static object Touch()
        {
            OfThread = new Till { Number = 79 };
            return Till;
        }
    }

    internal static class Program
    {
        private const int Waiters = 3;
        private const int HeldTills = 4;
        private const int KeptExceptions = 37;
        private const int DroppedReceipts = 250;
        private const int DynamicAssemblies = 6;
        private const int KeptBuilders = 4;
        private const int Ended = 8;
        private const string Message = "no more apples on shelf 12";

        private static readonly List<object> Kept = new List<object>();
        private static readonly Till Counter = new Till { Number = 1 };
        private static readonly Till Bell = new Till { Number = 2 };
        private static readonly List<Till> Tills = new List<Till>();
        private static readonly CountdownEvent Ready = new CountdownEvent(Waiters + 3);
        private static readonly ManualResetEventSlim Closing = new ManualResetEventSlim();
        private static bool exhausted;

        private static void Main()
        {
            GCSettings.LatencyMode = GCLatencyMode.SustainedLowLatency;
            Monitor.Enter(JammedDrawer.Key);
            Monitor.Enter(Counter);
            for (int i = 0; i < HeldTills; i++)
            {
                var till = new Till { Number = 100 + i };
                Tills.Add(till);
                Monitor.Enter(till);
                // A hash code beside the lock needs a record of its own for the object.
                RuntimeHelpers.GetHashCode(till);
            }

            StartThreads();
            LoadPlugins();
            EmitAssemblies();
            KeepExceptions();
            Exhaust();
            JamFinalizer();
            DropReceipts();
            GC.Collect(0);
            GC.Collect(1);
            Gauge.Collect();
            new ConsoleHost(Describe).Run();
        }

        private static void Start(string name, bool background, ThreadStart run) =>
            new Thread(run) { Name = name, IsBackground = background }.Start();

        private static void StartThreads()
        {
            for (int i = 0; i < Waiters; i++)
            {
                int number = i;
                Start("queue-" + i, true, () =>
                {
                    PerThread<string>.Held = "thread " + number;
                    PerThread<Till>.Held = new Till { Number = 500 + number };
                    PerThread<Till>.Badge = new Badge { Number = 600 + number, Till = Counter };
                    Ready.Signal();
                    lock (Counter)
                    {
                    }
                });
            }

            Start("bell", true, () =>
            {
                lock (Bell)
                {
                    Ready.Signal();
                    Monitor.Wait(Bell);
                }
            });
            Start("thrower", true, () =>
            {
                try
                {
                    throw new StockException(Message);
                }
                catch (StockException)
                {
                    Ready.Signal();
                    Closing.Wait();
                }
            });
            Start("cashier", false, () =>
            {
                Ready.Signal();
                Thread.Sleep(Timeout.Infinite);
            });
            Ready.Wait();
            for (int i = 0; i < Ended; i++)
            {
                var thread = new Thread(() => PerThread<Till>.Own = new Till { Number = 900 }) { IsBackground = true };
                thread.Start();
                thread.Join();
                Kept.Add(thread);
            }

            Kept.Add(new Thread(() => { }) { Name = "never started" });
        }

        private static void LoadPlugins()
        {
            byte[] self = File.ReadAllBytes(typeof(Program).Assembly.Location);
            var collectible = new AssemblyLoadContext("plugin-a", isCollectible: true);
            var fixedOne = new AssemblyLoadContext("plugin-b", isCollectible: false);
            Kept.Add(collectible);
            Kept.Add(fixedOne);
            Assembly loaded = collectible.LoadFromStream(new MemoryStream(self));
            fixedOne.LoadFromStream(new MemoryStream(self));
            Type state = loaded.GetType("Shop.Floor.PluginState", throwOnError: true);
            Kept.Add(state.GetMethod("Touch").Invoke(null, null));
        }

        private static void EmitAssemblies()
        {
            for (int i = 0; i < DynamicAssemblies; i++)
            {
                AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Emitted" + i), AssemblyBuilderAccess.Run);
                TypeBuilder type = assembly.DefineDynamicModule("Main").DefineType("Emitted.Item" + i, TypeAttributes.Public);
                type.DefineField("Value", typeof(object), FieldAttributes.Public);
                Kept.Add(Activator.CreateInstance(type.CreateTypeInfo().AsType()));
                if (i < KeptBuilders)
                {
                    Kept.Add(type);
                }
            }
        }

        private static void KeepExceptions()
        {
            for (int i = 0; i < KeptExceptions; i++)
            {
                Kept.Add(new StockException("kept " + i));
            }
        }

        /// <summary>The process runs with a hard limit on its heap: this much cannot be had.</summary>
        private static void Exhaust()
        {
            try
            {
                Kept.Add(new byte[1_500_000_000]);
            }
            catch (OutOfMemoryException)
            {
                exhausted = true;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void JamFinalizer()
        {
            DropDrawer();
            GC.Collect();
            if (!JammedDrawer.Jammed.Wait(TimeSpan.FromSeconds(60)))
            {
                throw new InvalidOperationException("the finalizer thread did not reach the lock");
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void DropDrawer() => GC.KeepAlive(new JammedDrawer());

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void DropReceipts()
        {
            for (int i = 0; i < DroppedReceipts; i++)
            {
                GC.KeepAlive(new Receipt { Number = i });
            }
        }

        private static Report Describe() => new Report()
            .Add("runtime", Gauge.Runtime())
            .Add("latency_mode", (int)GCSettings.LatencyMode)
            .Add("concurrent", true)
            .Add("waiters", Waiters)
            .Add("held_tills", HeldTills)
            .Add("main_thread", Thread.CurrentThread.ManagedThreadId)
            .Add("kept_exceptions", KeptExceptions)
            .Add("dropped_receipts", DroppedReceipts)
            .Add("dynamic_assemblies", DynamicAssemblies)
            .Add("kept_builders", KeptBuilders)
            .Add("ended_threads", Ended)
            .Add("exhausted", exhausted)
            .Add("message", Message)
            .Add("hresult", unchecked((int)0x80131234))
            .Add("contexts", AssemblyLoadContext.All
                .Select(context => new Report()
                    .Add("name", context.Name)
                    .Add("collectible", context.IsCollectible)
                    .Add("assemblies", context.Assemblies.Count()))
                .ToList())
            .Add("gc", Gauge.Heap());
    }
}
