// One process with known numbers of everything that a managed heap can hold, and a report that says them.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.ConstrainedExecution;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

// Some fields are there for the layout alone; the address of a reference is taken on purpose.
#pragma warning disable CS0649, CS0067, CS8500

namespace Shop.Inventory
{
    internal enum Shelf : short
    {
        Top = 1,
        Bottom = 2,
    }

    internal interface IPriced
    {
        Money Price { get; }
    }

    internal struct Money
    {
        public long Cents;
        public short Currency;
    }

    /// <summary>A struct with references inside: arrays of it have repeating reference series.</summary>
    internal struct Slot
    {
        public int Number;
        public Item Held;
        public long Since;
        public string Label;
    }

    internal class Item
    {
        public Item Next;
        public string Name;
        public int Quantity;
        public Shelf Shelf;
    }

    internal class PricedItem : Item, IPriced
    {
        public Money Listed;
        public Slot Location;
        public Item Replacement;

        public Money Price => Listed;
    }

    internal sealed class Pair<TKey, TValue>
    {
        public TKey Key;
        public TValue Value;

        internal sealed class Link<TTag>
        {
            public TTag Tag;
            public Pair<TKey, TValue> Owner;
        }
    }

    internal static class Warehouse
    {
        internal sealed class Aisle
        {
            public int Number;
            public Item First;

            internal struct Bay
            {
                public Aisle Aisle;
                public byte Row;
            }
        }
    }

    internal sealed class Lease
    {
        public int Id;

        ~Lease()
        {
            Id = -1;
        }
    }

    /// <summary>Its finalizer waits for a lock that the main thread never gives back: the queue behind it is ready forever.</summary>
    internal sealed class StuckLease
    {
        ~StuckLease()
        {
            FinalizerGate.Entered.Set();
            lock (FinalizerGate.Lock)
            {
            }
        }
    }

    internal sealed class SafeLease : CriticalFinalizerObject
    {
        public int Id;

        ~SafeLease()
        {
            Id = -1;
        }
    }

    internal static class FinalizerGate
    {
        public static readonly object Lock = new object();
        public static readonly ManualResetEventSlim Entered = new ManualResetEventSlim();
    }

    [StructLayout(LayoutKind.Sequential)]
    internal sealed class PinnedCell
    {
        public long Value;
    }

    internal struct Reading
    {
        public ushort Low;
        public ushort High;
    }

    internal sealed class HandleTarget
    {
        public int Number;
    }

    internal sealed class Tagged
    {
        public int Number;
    }

    internal sealed class Tag
    {
        public int Number;
    }

    /// <summary>Statics per instantiation: one exact, one shared code, one over a value type.</summary>
    internal static class Cache<T>
    {
        public static List<T> Entries;
        public static T Latest;
        public static int Hits;
    }

    internal static class Registry
    {
        public static Dictionary<string, Item> ByName;
        public static Item[] All;
        public static readonly List<object> Anything = new List<object>();
        public static Money Float;
        public static Money? MaybeFloat;
        public static Slot Front;
        public static int Count = 4242;
        public static bool Open = true;
        public static double Ratio = 0.25;
        public static string Motto;
        public static Item Nothing;
        public static Func<Item, bool> Filter;
        private static readonly object Secret = new Warehouse.Aisle { Number = 7 };

        public static object Keep => Secret;

        internal static class Archive
        {
            public static Item[][] Boxes;
        }
    }

    internal static class PerThread
    {
        [ThreadStatic]
        public static Item Mine;

        [ThreadStatic]
        public static int Visits;

        [ThreadStatic]
        public static List<Item> Basket;
    }

    internal sealed class Clerk
    {
        public event EventHandler<int> Sold;

        private int total;

        public void OnSold(object sender, int amount) => total += amount;

        public void Subscribe(Clerk other) => other.Sold += OnSold;

        public async Task<int> WaitForOrderAsync(Task<int> order, string name)
        {
            int amount = await order.ConfigureAwait(false);
            return amount + name.Length + total;
        }

        public IEnumerable<Item> Walk(Item first)
        {
            for (Item item = first; item != null; item = item.Next)
            {
                yield return item;
            }
        }
    }

    internal static class Program
    {
        private const int Items = 5000;
        private const int PricedItems = 700;
        private const int Pairs = 310;
        private const int Links = 120;
        private const int LongPairs = 90;
        private const int Bays = 64;
        private const int SlotArrays = 40;
        private const int Slots = 9;
        private const int Matrices = 55;
        private const int Cubes = 21;
        private const int Jagged = 33;
        private const int BoxedMoney = 77;
        private const int BoxedShelves = 13;
        private const int ShelfArrays = 11;
        private const int Waiting = 150;
        private const int Walkers = 26;
        private const int Strings = 1234;
        private const int Closures = 29;
        private const int Subscribers = 48;

        private const int Strong = 111;
        private const int WeakShort = 222;
        private const int WeakLong = 33;
        private const int Pinned = 444;
        private const int PinnedArrays = 55;
        private const int Dependent = 66;

        private const int LeasesKept = 75;
        private const int LeasesReady = 500;
        private const int SafeLeasesKept = 40;
        private const int SafeLeasesReady = 25;
        private const int LeasesSuppressed = 30;

        private const int LohArrays = 40;
        private const int LohBytes = 100_000;
        private const int PohArrays = 16;
        private const int PohBytes = 9_000;
        private const int ThreadsParked = 5;

        private static readonly List<GCHandle> Handles = new List<GCHandle>();
        private static readonly ConditionalWeakTable<Tagged, Tag> Tags = new ConditionalWeakTable<Tagged, Tag>();
        private static readonly TaskCompletionSource<int> Orders = new TaskCompletionSource<int>();
        private static readonly ManualResetEventSlim Parked = new ManualResetEventSlim();
        private static readonly CountdownEvent Arrived = new CountdownEvent(ThreadsParked);
        private static readonly List<Func<object>> Samples = new List<Func<object>>();
        private static readonly List<(string Name, int Count)> Counts = new List<(string, int)>();
        private static int pohArrays;
        private static int lohKept;

        private static void Main()
        {
            FillItems();
            FillShapes();
            FillArrays();
            FillCode();
            FillStatics();
            FillHandles();
            FillLargeObjects();
            ParkThreads();
            lock (FinalizerGate.Lock)
            {
                BlockFinalizer();
                FillFinalizers();
                Gauge.Collect();
                Gauge.Collect();
                new ConsoleHost(Describe).Run();
            }
        }

        /// <summary>Keeps count of a type by one sample object, from which name, method table and size are told.</summary>
        private static void Expect(int count, Func<object> sample)
        {
            Samples.Add(sample);
            Counts.Add((null, count));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillItems()
        {
            var all = new Item[Items + PricedItems];
            for (int i = 0; i < all.Length; i++)
            {
                all[i] = i < Items ? new Item() : new PricedItem();
                all[i].Quantity = i;
                all[i].Shelf = Shelf.Bottom;
                all[i].Name = i < Strings ? "article-" + i.ToString("D6") : null;
                all[i].Next = i == 0 ? null : all[i - 1];
            }

            Registry.All = all;
            Registry.ByName = all.Where(item => item.Name != null).ToDictionary(item => item.Name);
            Expect(Items, () => Registry.All[0]);
            Expect(PricedItems, () => Registry.All[Items]);
            Expect(1, () => Registry.ByName);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillShapes()
        {
            var pairs = new List<Pair<string, Item>>();
            var links = new List<Pair<string, Item>.Link<int>>();
            var longs = new List<Pair<long, List<Money>>>();
            for (int i = 0; i < Pairs; i++)
            {
                pairs.Add(new Pair<string, Item> { Key = Registry.All[i].Name, Value = Registry.All[i] });
            }

            for (int i = 0; i < Links; i++)
            {
                links.Add(new Pair<string, Item>.Link<int> { Tag = i, Owner = pairs[i] });
            }

            for (int i = 0; i < LongPairs; i++)
            {
                longs.Add(new Pair<long, List<Money>> { Key = i, Value = new List<Money> { default } });
            }

            Registry.Anything.AddRange(new object[] { pairs, links, longs });
            for (int i = 0; i < BoxedMoney; i++)
            {
                Registry.Anything.Add(new Money { Cents = i });
            }

            for (int i = 0; i < BoxedShelves; i++)
            {
                Registry.Anything.Add(Shelf.Top);
            }

            Registry.Anything.Add(new Warehouse.Aisle.Bay[Bays]);
            Registry.Anything.Add((1, "two"));
            Registry.Anything.Add(Tuple.Create(1L, new Money()));
            Expect(Pairs, () => pairs[0]);
            Expect(Links, () => links[0]);
            Expect(LongPairs, () => longs[0]);
            // One more: Cache<Money>.Entries.
            Expect(LongPairs + 1, () => longs[0].Value);
            Expect(1, () => Registry.Anything.OfType<Warehouse.Aisle.Bay[]>().First());
            Expect(1, () => Registry.Anything.OfType<Tuple<long, Money>>().First());
            Expect(1, () => Registry.Anything.First(thing => thing is ValueTuple<int, string>));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillArrays()
        {
            var slots = new List<Slot[]>();
            var matrices = new List<int[,]>();
            var cubes = new List<string[,,]>();
            var jagged = new List<short[][]>();
            var shelves = new List<Shelf[]>();
            for (int i = 0; i < SlotArrays; i++)
            {
                var row = new Slot[Slots];
                for (int j = 0; j < Slots; j++)
                {
                    row[j] = new Slot { Number = j, Held = Registry.All[j], Label = Registry.All[j].Name };
                }

                slots.Add(row);
            }

            for (int i = 0; i < Matrices; i++)
            {
                matrices.Add(new int[3, 5]);
            }

            for (int i = 0; i < Cubes; i++)
            {
                cubes.Add(new string[2, 3, 4]);
            }

            for (int i = 0; i < Jagged; i++)
            {
                jagged.Add(new[] { new short[4], new short[6] });
            }

            for (int i = 0; i < ShelfArrays; i++)
            {
                shelves.Add(new Shelf[10]);
            }

            Registry.Anything.AddRange(new object[] { slots, matrices, cubes, jagged, shelves });
            Expect(SlotArrays, () => slots[0]);
            Expect(Matrices, () => matrices[0]);
            Expect(Cubes, () => cubes[0]);
            Expect(Jagged, () => jagged[0]);
            Expect(ShelfArrays, () => shelves[0]);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillCode()
        {
            var clerk = new Clerk();
            var waiting = new List<Task<int>>();
            for (int i = 0; i < Waiting; i++)
            {
                waiting.Add(clerk.WaitForOrderAsync(Orders.Task, "order"));
            }

            var walkers = new List<IEnumerator<Item>>();
            for (int i = 0; i < Walkers; i++)
            {
                IEnumerator<Item> walker = clerk.Walk(Registry.All[i + 10]).GetEnumerator();
                walker.MoveNext();
                walkers.Add(walker);
            }

            var closures = new List<Func<int>>();
            for (int i = 0; i < Closures; i++)
            {
                int captured = i;
                closures.Add(() => captured);
            }

            var subscribers = new List<Clerk>();
            for (int i = 0; i < Subscribers; i++)
            {
                var subscriber = new Clerk();
                subscriber.Subscribe(clerk);
                subscribers.Add(subscriber);
            }

            Registry.Anything.AddRange(new object[] { clerk, waiting, walkers, closures, subscribers });
            Expect(Waiting, () => waiting[0]);
            Expect(Walkers, () => walkers[0]);
            Expect(Closures, () => closures[0].Target);
            Expect(Closures, () => closures[0]);
            Expect(Subscribers + 1, () => clerk);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillStatics()
        {
            Cache<string>.Entries = new List<string> { Registry.All[3].Name };
            Cache<string>.Latest = Registry.All[4].Name;
            Cache<string>.Hits = 1;
            Cache<Item>.Entries = new List<Item> { Registry.All[5] };
            Cache<Item>.Latest = Registry.All[6];
            Cache<Item>.Hits = 2;
            Cache<Money>.Entries = new List<Money>();
            Cache<Money>.Latest = new Money { Cents = 99 };
            Cache<Money>.Hits = 3;
            Registry.Float = new Money { Cents = 12345, Currency = 978 };
            Registry.MaybeFloat = new Money { Cents = 1 };
            Registry.Front = new Slot { Held = Registry.All[7], Label = Registry.All[7].Name, Number = 7 };
            Registry.Motto = new string('m', 40);
            Registry.Filter = item => item.Quantity > 3;
            Registry.Archive.Boxes = new[] { new[] { Registry.All[8] }, new[] { Registry.All[9] } };
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillHandles()
        {
            var kept = new List<HandleTarget>();
            for (int i = 0; i < Strong; i++)
            {
                Handles.Add(GCHandle.Alloc(new HandleTarget { Number = i }));
            }

            for (int i = 0; i < WeakShort + WeakLong; i++)
            {
                var target = new HandleTarget { Number = 1000 + i };
                kept.Add(target);
                Handles.Add(GCHandle.Alloc(target, i < WeakShort ? GCHandleType.Weak : GCHandleType.WeakTrackResurrection));
            }

            for (int i = 0; i < Pinned; i++)
            {
                Handles.Add(GCHandle.Alloc(new PinnedCell { Value = i }, GCHandleType.Pinned));
            }

            for (int i = 0; i < PinnedArrays; i++)
            {
                Handles.Add(GCHandle.Alloc(new Reading[350], GCHandleType.Pinned));
            }

            var tagged = new List<Tagged>();
            for (int i = 0; i < Dependent; i++)
            {
                var key = new Tagged { Number = i };
                Tags.Add(key, new Tag { Number = i });
                tagged.Add(key);
            }

            Registry.Anything.AddRange(new object[] { kept, tagged });
            Expect(Strong + WeakShort + WeakLong, () => kept[0]);
            Expect(Pinned, () => Handles[Strong + WeakShort + WeakLong].Target);
            Expect(PinnedArrays, () => Handles[Handles.Count - 1].Target);
            Expect(Dependent, () => tagged[0]);
            Expect(Dependent, () => Tags.TryGetValue(tagged[0], out Tag tag) ? tag : null);
        }

        /// <summary>Every second large array is dropped: the holes stay, for nothing compacts the large object heap.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillLargeObjects()
        {
            var large = new List<byte[]>();
            for (int i = 0; i < LohArrays; i++)
            {
                large.Add(new byte[LohBytes]);
            }

            for (int i = LohArrays - 2; i >= 0; i -= 2)
            {
                large.RemoveAt(i);
            }

            lohKept = large.Count;
            Registry.Anything.Add(large);
            MethodInfo pinned = typeof(GC).GetMethod("AllocateArray");
            if (pinned != null)
            {
                var blocks = new List<char[]>();
                for (int i = 0; i < PohArrays; i++)
                {
                    blocks.Add((char[])pinned.MakeGenericMethod(typeof(char)).Invoke(null, new object[] { PohBytes / 2, true }));
                }

                pohArrays = blocks.Count;
                Registry.Anything.Add(blocks);
            }
        }

        private static void ParkThreads()
        {
            for (int i = 0; i < ThreadsParked; i++)
            {
                int number = i;
                new Thread(() => Park(number)) { IsBackground = true, Name = "clerk-" + number }.Start();
            }

            Arrived.Wait();
        }

        private static void Park(int number)
        {
            PerThread.Mine = Registry.All[100 + number];
            PerThread.Visits = 9000 + number;
            PerThread.Basket = new List<Item> { Registry.All[number] };
            Arrived.Signal();
            Parked.Wait();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void BlockFinalizer()
        {
            DropStuckLease();
            GC.Collect();
            if (!FinalizerGate.Entered.Wait(TimeSpan.FromSeconds(60)))
            {
                throw new InvalidOperationException("the finalizer thread did not reach the lock");
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void DropStuckLease() => GC.KeepAlive(new StuckLease());

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void FillFinalizers()
        {
            var kept = new List<object>();
            for (int i = 0; i < LeasesKept; i++)
            {
                kept.Add(new Lease { Id = i });
            }

            for (int i = 0; i < SafeLeasesKept; i++)
            {
                kept.Add(new SafeLease { Id = i });
            }

            for (int i = 0; i < LeasesSuppressed; i++)
            {
                var lease = new Lease { Id = 100_000 + i };
                GC.SuppressFinalize(lease);
                kept.Add(lease);
            }

            Registry.Anything.Add(kept);
            DropLeases();
            Expect(LeasesKept + LeasesReady + LeasesSuppressed, () => kept[0]);
            Expect(SafeLeasesKept + SafeLeasesReady, () => kept[LeasesKept]);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void DropLeases()
        {
            for (int i = 0; i < LeasesReady; i++)
            {
                GC.KeepAlive(new Lease { Id = i });
            }

            for (int i = 0; i < SafeLeasesReady; i++)
            {
                GC.KeepAlive(new SafeLease { Id = i });
            }
        }

        private static Report Describe()
        {
            Report handles = new Report()
                .Add("strong", Strong)
                .Add("weak_short", WeakShort)
                .Add("weak_long", WeakLong)
                .Add("pinned", Pinned + PinnedArrays)
                .Add("pinned_cells", Pinned)
                .Add("pinned_arrays", PinnedArrays)
                .Add("dependent", Dependent);
            Report finalizers = new Report()
                .Add("lease_registered", LeasesKept)
                .Add("lease_ready", LeasesReady)
                .Add("lease_suppressed", LeasesSuppressed)
                .Add("safe_lease_registered", SafeLeasesKept)
                .Add("safe_lease_ready", SafeLeasesReady)
                .Add("stuck_lease_running", 1);
            Report large = new Report()
                .Add("loh_arrays", lohKept)
                .Add("loh_array_length", LohBytes)
                .Add("loh_holes", LohArrays - lohKept)
                .Add("poh_arrays", pohArrays)
                .Add("poh_array_length", PohBytes / 2)
                .Add("literal_is_frozen", GC.GetGeneration("literal in the code") == int.MaxValue);
            var threads = Enumerable.Range(0, ThreadsParked).Select(i => new Report()
                .Add("name", "clerk-" + i)
                .Add("mine_quantity", 100 + i)
                .Add("visits", 9000 + i));
            Report report = new Report()
                .Add("runtime", Gauge.Runtime())
                .Add("types", Samples.Select((sample, i) => DescribeType(sample(), Counts[i].Count)).ToList())
                .Add("boxed", new Report().Add("Shop.Inventory.Money", BoxedMoney).Add("Shop.Inventory.Shelf", BoxedShelves))
                .Add("strings_named_article", Strings)
                .Add("handles", handles)
                .Add("finalizers", finalizers)
                .Add("large", large)
                .Add("statics", Statics().ToList())
                .Add("thread_statics", threads.ToList());
            return report.Add("gc", Gauge.Heap());
        }

        private static Report DescribeType(object sample, int count) => new Report()
            .Add("name", CSharpName(sample.GetType()))
            .Add("reflection_name", sample.GetType().ToString())
            .Add("count", count)
            .Add("method_table", Hex(MethodTable(sample)))
            .Add("bytes_each", SizeOf(sample))
            .Add("generation", GC.GetGeneration(sample));

        /// <summary>Every static field of this assembly with what it holds now.</summary>
        private static IEnumerable<Report> Statics()
        {
            Type[] types =
            {
                typeof(Registry), typeof(Registry.Archive), typeof(FinalizerGate), typeof(Cache<string>), typeof(Cache<Item>),
                typeof(Cache<Money>), typeof(Program),
            };
            foreach (Type type in types)
            {
                foreach (FieldInfo field in type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic))
                {
                    if (field.IsLiteral)
                    {
                        continue;
                    }

                    object value = field.GetValue(null);
                    Report entry = new Report()
                        .Add("field", CSharpName(type) + "." + field.Name)
                        .Add("declared", CSharpName(field.FieldType));
                    if (value == null)
                    {
                        entry.Add("is_null", true);
                    }
                    else if (field.FieldType.IsValueType)
                    {
                        entry.Add("is_value", true).Add("text", value.ToString());
                    }
                    else
                    {
                        entry.Add("type", CSharpName(value.GetType()))
                            .Add("method_table", Hex(MethodTable(value)))
                            .Add("address", Hex(Address(value)));
                    }

                    yield return entry;
                }
            }
        }

        /// <summary>As C# writes it, with full names and the runtime's names for the primitive types.</summary>
        private static string CSharpName(Type type)
        {
            if (type.IsArray)
            {
                // C# reads the ranks of a jagged array from the outside in.
                string ranks = "";
                while (type.IsArray)
                {
                    ranks += "[" + new string(',', type.GetArrayRank() - 1) + "]";
                    type = type.GetElementType();
                }

                return CSharpName(type) + ranks;
            }

            Type[] arguments = type.GetGenericArguments();
            string name = "";
            int used = 0;
            var chain = new List<Type>();
            for (Type t = type; t != null; t = t.DeclaringType)
            {
                chain.Insert(0, t);
            }

            foreach (Type part in chain)
            {
                string own = part.Name;
                int tick = own.IndexOf('`');
                if (tick >= 0)
                {
                    int arity = int.Parse(own.Substring(tick + 1));
                    own = own.Substring(0, tick) + "<" + string.Join(", ", arguments.Skip(used).Take(arity).Select(CSharpName)) + ">";
                    used += arity;
                }

                name += (name.Length == 0 ? "" : ".") + own;
            }

            return string.IsNullOrEmpty(type.Namespace) ? name : type.Namespace + "." + name;
        }

        private static string Hex(long value) => "0x" + value.ToString("x");

        private static unsafe long Address(object value)
        {
            TypedReference reference = __makeref(value);
            return **(long**)&reference;
        }

        private static unsafe long MethodTable(object value)
        {
            TypedReference reference = __makeref(value);
            return ***(long***)&reference;
        }

        /// <summary>The size that the runtime computes: base size plus length times component size, to a multiple of 8.</summary>
        private static unsafe long SizeOf(object value)
        {
            byte* table = (byte*)MethodTable(value);
            long bytes = *(uint*)(table + 4);
            if (*(int*)table < 0)
            {
                long length = value is string text ? text.Length : ((Array)value).Length;
                bytes += length * *(ushort*)table;
            }

            return (bytes + 7) / 8 * 8;
        }
    }
}
