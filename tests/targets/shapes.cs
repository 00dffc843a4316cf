// One of each well-known shape of the framework, with the numbers that it must be read with.
//
// Entity Framework and the two memory caches are not part of every runtime: where they are missing, classes of the same names and
// with the same fields stand in for them (see the end of this file).
using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Microsoft.EntityFrameworkCore;
using Shop.Hosting;

namespace Shop.Shapes
{
    internal sealed class Item
    {
        public int Number;
    }

    internal sealed class Job
    {
        public DateTime ValidUntil;
        public DateTime Created;
    }

    internal sealed class Note
    {
        public DateTimeOffset Received;
    }

    internal sealed class ShopContext : DbContext
    {
    }

    internal sealed class ShelfException : Exception
    {
        public ShelfException(string message, Exception inner)
            : base(message, inner)
        {
        }
    }

    /// <summary>Answers each round of requests when all of them have come, so that each needs a connection of its own.</summary>
    internal sealed class Server
    {
        private readonly TcpListener listener = new TcpListener(IPAddress.Loopback, 0);
        private readonly CountdownEvent awaited;

        public Server(int clients)
        {
            awaited = new CountdownEvent(clients);
            listener.Start();
            new Thread(Accept) { IsBackground = true, Name = "server" }.Start();
        }

        public int Port => ((IPEndPoint)listener.LocalEndpoint).Port;

        private void Accept()
        {
            while (true)
            {
                Socket socket = listener.AcceptSocket();
                new Thread(() => Answer(socket)) { IsBackground = true, Name = "server" }.Start();
            }
        }

        private void Answer(Socket socket)
        {
            var buffer = new byte[4096];
            string request = "";
            while (socket.Receive(buffer) is int read && read > 0)
            {
                request += Encoding.ASCII.GetString(buffer, 0, read);
                if (request.EndsWith("\r\n\r\n", StringComparison.Ordinal))
                {
                    request = "";
                    awaited.Signal();
                    awaited.Wait();
                    socket.Send(Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
                }
            }
        }
    }

    internal static class Program
    {
        private static readonly List<object> Kept = new List<object>();
        private static readonly List<Report> Expected = new List<Report>();
        private static readonly AsyncLocal<Item>[] Flow = Enumerable.Range(0, 6).Select(_ => new AsyncLocal<Item>()).ToArray();
        private static readonly DateTime Start = new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc);

        private static void Main()
        {
            Collections();
            Queues();
            Holders();
            Pools();
            Run(KeepContexts);
            Sources();
            Database();
            bool realCache = Caches();
            Exceptions();
            int[] ports = Http();
            Gauge.Collect();
            new ConsoleHost(() => new Report()
                    .Add("shapes", Expected)
                    .Add("start_ms", Milliseconds(Start))
                    .Add("real_cache", realCache)
                    .Add("port_of_three", ports[0])
                    .Add("port_of_two", ports[1]))
                .Run();
        }

        private static void Run(ThreadStart work)
        {
            var thread = new Thread(work);
            thread.Start();
            thread.Join();
        }

        private static long Milliseconds(DateTime utc) => new DateTimeOffset(utc).ToUnixTimeMilliseconds();

        private static IEnumerable<Item> Items(int count) => Enumerable.Range(0, count).Select(i => new Item { Number = i });

        /// <summary>Keeps one object and what it must be read as.</summary>
        private static T Keep<T>(T shape, long elements, long capacity = -1)
            where T : class
        {
            Kept.Add(shape);
            Expect(shape.GetType(), 1, elements, capacity);
            return shape;
        }

        private static void KeepImmutable<T>(T shape, long elements)
            where T : class
        {
            Kept.Add(shape);
            Expect(shape.GetType(), 2, elements);
        }

        private static void Expect(Type type, long count, long elements, long capacity = -1, bool others = false) =>
            Expected.Add(new Report()
                .Add("type", Spell(type))
                .Add("count", count)
                .Add("elements", elements)
                .Add("capacity", capacity)
                .Add("others", others));

        private static string Spell(Type type)
        {
            string name = type.Namespace + "." + type.Name;
            int tick = name.IndexOf('`');
            return tick < 0
                ? name
                : name.Substring(0, tick) + "<" + string.Join(", ", type.GetGenericArguments().Select(Spell)) + ">";
        }

        private static void Collections()
        {
            var list = new List<Item>(64);
            list.AddRange(Items(10));
            Keep(list, 10, 64);
            Keep(new Stack<Item>(Items(11)), 11);
            Keep(Items(12).ToDictionary(item => item.Number), 12);
            Keep(new HashSet<long>(Enumerable.Range(0, 13).Select(i => (long)i)), 13);
            Keep(new SortedSet<short>(Enumerable.Range(0, 14).Select(i => (short)i)), 14);
            Keep(new SortedDictionary<int, Item>(Items(15).ToDictionary(item => item.Number)), 15);
            Keep(new SortedList<int, Item>(Items(16).ToDictionary(item => item.Number)), 16, 16);
            Keep(new LinkedList<Item>(Items(17)), 17);
            Keep(new ConcurrentDictionary<int, Item>(Items(18).ToDictionary(item => item.Number)), 18);
            Keep(new ConcurrentBag<Item>(Items(19)), 19);
            Keep(new ConcurrentStack<Item>(Items(20)), 20);
            var table = new ConditionalWeakTable<Item, Item>();
            foreach (Item item in Items(21))
            {
                Kept.Add(item);
                table.Add(item, item);
            }

            Keep(table, 21);
            // Each has an empty one beside it, in a static field.
            KeepImmutable(Items(300).ToImmutableDictionary(item => item.Number), 300);
            KeepImmutable(Items(120).ToImmutableList(), 120);
            KeepImmutable(Enumerable.Range(0, 130).Select(i => (byte)i).ToImmutableHashSet(), 130);
            KeepImmutable(Items(140).ToImmutableSortedDictionary(item => item.Number, item => item), 140);
            KeepImmutable(Enumerable.Range(0, 150).Select(i => (uint)i).ToImmutableSortedSet(), 150);
            var removed = Items(40).ToDictionary(item => (short)item.Number);
            removed.Remove(3);
            removed.Remove(4);
            Keep(removed, 38);
        }

        private static void Queues()
        {
            Keep(new Queue<Item>(Items(22)), 22);
            var blocking = new BlockingCollection<Item>(boundedCapacity: 1_000);
            var unbounded = Channel.CreateUnbounded<Item>();
            var single = Channel.CreateUnbounded<Item>(new UnboundedChannelOptions { SingleReader = true });
            var bounded = Channel.CreateBounded<Note>(500);
            foreach (Item item in Items(400))
            {
                blocking.Add(item);
            }

            foreach (Item item in Items(150))
            {
                unbounded.Writer.TryWrite(item);
            }

            foreach (Item item in Items(333))
            {
                single.Writer.TryWrite(item);
            }

            for (int i = 0; i < 33; i++)
            {
                single.Reader.TryRead(out Item _);
            }

            for (int i = 0; i < 200; i++)
            {
                bounded.Writer.TryWrite(new Note { Received = new DateTimeOffset(Start.AddMinutes(-i)).ToOffset(TimeSpan.FromHours(5)) });
            }

            Keep(blocking, 400);
            Keep(unbounded, 150);
            Keep(single, 300);
            Keep(bounded, 200);
            Prioritized();
            var jobs = new ConcurrentQueue<Job>();
            for (int i = 0; i < 250; i++)
            {
                jobs.Enqueue(new Job { Created = Start.AddSeconds(-i), ValidUntil = Start.AddYears(3) });
            }

            for (int i = 0; i < 50; i++)
            {
                jobs.TryDequeue(out Job _);
            }

            Keep(jobs, 200);
        }

        /// <summary>Channels with priorities came with 9, queues with priorities with 6.</summary>
        private static void Prioritized()
        {
            Type queue = Type.GetType("System.Collections.Generic.PriorityQueue`2, System.Collections");
            if (queue != null)
            {
                Type type = queue.MakeGenericType(typeof(Item), typeof(int));
                object made = Activator.CreateInstance(type);
                for (int i = 0; i < 23; i++)
                {
                    type.GetMethod("Enqueue").Invoke(made, new object[] { new Item(), i });
                }

                Keep(made, 23);
            }

            MethodInfo create = typeof(Channel).GetMethods().FirstOrDefault(m => m.Name == "CreateUnboundedPrioritized" && m.GetParameters().Length == 0);
            if (create != null)
            {
                var channel = (Channel<int>)create.MakeGenericMethod(typeof(int)).Invoke(null, null);
                for (int i = 0; i < 77; i++)
                {
                    channel.Writer.TryWrite(i);
                }

                Keep(channel, 77);
            }
        }

        private static void Holders()
        {
            for (int i = 0; i < 30; i++)
            {
                var lazy = new Lazy<Item>(() => new Item());
                Kept.Add(lazy);
                GC.KeepAlive(i < 12 ? lazy.Value : null);
            }

            Expect(typeof(Lazy<Item>), 30, 12, 30);
            var own = new ThreadLocal<Item>(() => new Item());
            using (var ready = new CountdownEvent(5))
            {
                for (int i = 0; i < 5; i++)
                {
                    new Thread(() =>
                    {
                        GC.KeepAlive(own.Value);
                        ready.Signal();
                        Thread.Sleep(Timeout.Infinite);
                    }) { IsBackground = true, Name = "holder" }.Start();
                }

                ready.Wait();
            }

            Keep(own, 5);
            var text = new StringBuilder(100);
            text.Append('x', 250);
            Kept.Add(text);
            var stream = new MemoryStream(1_000);
            stream.Write(new byte[300], 0, 300);
            Keep(stream, 300, 1_000);
        }

        private static void Pools()
        {
            ArrayPool<Item> pool = ArrayPool<Item>.Create(1_024, 50);
            Item[][] rented = Enumerable.Range(0, 20).Select(_ => pool.Rent(100)).ToArray();
            foreach (Item[] array in rented.Take(14))
            {
                pool.Return(array);
            }

            // Seven sizes from 16 to 1,024.
            Keep(pool, 14, 350);
            ArrayPool<Note> shared = ArrayPool<Note>.Shared;
            Note[][] notes = Enumerable.Range(0, 6).Select(_ => shared.Rent(200)).ToArray();
            foreach (Note[] array in notes)
            {
                shared.Return(array);
            }

            // The thread keeps one to itself.
            Keep(shared, 5);
        }

        private static void KeepContexts()
        {
            long values = 0;
            for (int i = 0; i < 25; i++)
            {
                foreach (AsyncLocal<Item> local in Flow)
                {
                    local.Value = null;
                }

                for (int k = 0; k <= i % Flow.Length; k++)
                {
                    Flow[k].Value = new Item();
                    values++;
                }

                Kept.Add(ExecutionContext.Capture());
            }

            Expect(typeof(ExecutionContext), 25, values, -1, others: true);
        }

        private static void Sources()
        {
            CancellationTokenSource[] sources = Enumerable.Range(0, 40).Select(_ => new CancellationTokenSource()).ToArray();
            Kept.Add(sources);
            for (int i = 0; i < 60; i++)
            {
                sources[0].Token.Register(() => { });
            }

            for (int i = 0; i < 5; i++)
            {
                Kept.Add(CancellationTokenSource.CreateLinkedTokenSource(sources[0].Token, sources[1].Token));
            }

            for (int i = 5; i < 15; i++)
            {
                sources[i].CancelAfter(TimeSpan.FromHours(1));
            }

            for (int i = 20; i < 35; i++)
            {
                sources[i].Cancel();
            }

            Expect(typeof(CancellationTokenSource), 40, 70, -1, others: true);
        }

        private static void Database()
        {
            var context = new ShopContext();
            foreach (Item item in Items(90))
            {
                context.Track(item, item.Number % 3);
            }

            Keep(context, 90);
            Keep(new ShelfContext(), 0);
        }

        private static bool Caches()
        {
            var store = new System.Runtime.Caching.MemoryCacheStore();
            for (int i = 0; i < 45; i++)
            {
                store.Add("key-" + i, Start.AddHours(-i));
            }

            Keep(store, 45);
            object real = RealCache(35);
            if (real != null)
            {
                Keep(real, 35);
                return true;
            }

            var cache = new Microsoft.Extensions.Caching.Memory.MemoryCache();
            for (int i = 0; i < 35; i++)
            {
                cache.Add("key-" + i, Start.AddMinutes(-i));
            }

            Keep(cache, 35);
            return false;
        }

        /// <summary>The package itself, where the runtime's folder has it; null elsewhere.</summary>
        private static object RealCache(int entries)
        {
            string core = Path.GetDirectoryName(typeof(object).Assembly.Location);
            string shared = Path.GetDirectoryName(Path.GetDirectoryName(core));
            string web = Path.Combine(shared, "Microsoft.AspNetCore.App", Path.GetFileName(core));
            if (!File.Exists(Path.Combine(web, "Microsoft.Extensions.Caching.Memory.dll")))
            {
                return null;
            }

            AppDomain.CurrentDomain.AssemblyResolve += (_, wanted) =>
            {
                string file = Path.Combine(web, new AssemblyName(wanted.Name).Name + ".dll");
                return File.Exists(file) ? Assembly.LoadFrom(file) : null;
            };
            Assembly caching = Assembly.LoadFrom(Path.Combine(web, "Microsoft.Extensions.Caching.Memory.dll"));
            object options = Activator.CreateInstance(caching.GetType("Microsoft.Extensions.Caching.Memory.MemoryCacheOptions", true));
            Type type = caching.GetType("Microsoft.Extensions.Caching.Memory.MemoryCache", true);
            object cache = type.GetConstructors().First(c => c.GetParameters().Length == 1).Invoke(new[] { options });
            for (int i = 0; i < entries; i++)
            {
                // Keys that are strings lie apart from others.
                object key = i % 2 == 0 ? (object)("key-" + i) : i;
                var entry = (IDisposable)type.GetMethod("CreateEntry").Invoke(cache, new[] { key });
                entry.GetType().GetProperty("Value").SetValue(entry, new Item());
                entry.Dispose();
            }

            return cache;
        }

        private static void Exceptions()
        {
            for (int i = 0; i < 6; i++)
            {
                Exception inner = null;
                for (int k = 0; k < i; k++)
                {
                    inner = new InvalidOperationException("inner", inner);
                }

                try
                {
                    throw new ShelfException("thrown", inner);
                }
                catch (ShelfException error)
                {
                    Kept.Add(error);
                }

                Kept.Add(new ShelfException("made", null));
            }
        }

        /// <summary>Three connections to one server and two to another.</summary>
        private static int[] Http()
        {
            Server three = new Server(3), two = new Server(2);
            var handler = new SocketsHttpHandler { UseProxy = false, PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan };
            var client = new HttpClient(handler);
            Kept.Add(client);
            Kept.Add(three);
            Kept.Add(two);
            IEnumerable<Task<string>> Ask(Server server, int times) =>
                Enumerable.Range(0, times).Select(_ => client.GetStringAsync("http://127.0.0.1:" + server.Port + "/"));
            Task.WaitAll(Ask(three, 3).Concat(Ask(two, 2)).ToArray<Task>());
            return new[] { three.Port, two.Port };
        }
    }

    /// <summary>A context that was never used.</summary>
    internal sealed class ShelfContext : DbContext
    {
    }
}

// Entity Framework Core 3.1 to 9 as far as the reader looks: DbContext.cs, StateManager.cs, EntityReferenceMap.cs. Names of types
// and fields, and what refers to what, are the package's own; nothing else is.
namespace Microsoft.EntityFrameworkCore
{
    public abstract class DbContext
    {
        private Internal.IDbContextDependencies _dbContextDependencies;

        internal void Track(object entity, int state)
        {
            _dbContextDependencies ??= new Internal.DbContextDependencies();
            _dbContextDependencies.StateManager.Track(entity, state);
        }
    }
}

namespace Microsoft.EntityFrameworkCore.Internal
{
    using Microsoft.EntityFrameworkCore.ChangeTracking.Internal;

    internal interface IDbContextDependencies
    {
        StateManager StateManager { get; }
    }

    internal sealed class DbContextDependencies : IDbContextDependencies
    {
        public StateManager StateManager { get; } = new StateManager();
    }
}

namespace Microsoft.EntityFrameworkCore.ChangeTracking.Internal
{
    internal sealed class InternalEntityEntry
    {
        public object Entity;
    }

    internal sealed class StateManager
    {
        private readonly EntityReferenceMap _entityReferenceMap = new EntityReferenceMap();

        public void Track(object entity, int state) => _entityReferenceMap.Update(entity, state);
    }

    internal sealed class EntityReferenceMap
    {
        private Dictionary<object, InternalEntityEntry> _unchangedReferenceMap;
        private Dictionary<object, InternalEntityEntry> _deletedReferenceMap;
        private Dictionary<object, InternalEntityEntry> _addedReferenceMap;
        private Dictionary<object, InternalEntityEntry> _modifiedReferenceMap;

        public bool HasDeleted => _deletedReferenceMap != null;

        public void Update(object entity, int state)
        {
            _unchangedReferenceMap ??= new Dictionary<object, InternalEntityEntry>();
            _addedReferenceMap ??= new Dictionary<object, InternalEntityEntry>();
            _modifiedReferenceMap ??= new Dictionary<object, InternalEntityEntry>();
            _deletedReferenceMap = null;
            var map = state == 0 ? _unchangedReferenceMap : state == 1 ? _addedReferenceMap : _modifiedReferenceMap;
            map.Add(entity, new InternalEntityEntry { Entity = entity });
        }
    }
}

// Microsoft.Extensions.Caching.Memory 6 to 8: MemoryCache.cs, CacheEntry.cs; the package of 9 is the real one where it is at hand.
namespace Microsoft.Extensions.Caching.Memory
{
    internal sealed class CacheEntry
    {
        public DateTime LastAccessed { get; set; }
    }

    internal sealed class MemoryCache
    {
        private readonly CoherentState _coherentState = new CoherentState();

        public void Add(object key, DateTime at) => _coherentState._entries[key] = new CacheEntry { LastAccessed = at };

        internal sealed class CoherentState
        {
            internal readonly ConcurrentDictionary<object, CacheEntry> _entries = new ConcurrentDictionary<object, CacheEntry>();
        }
    }
}

// System.Runtime.Caching 4 to 10: MemoryCacheStore.cs, MemoryCacheEntry.cs.
namespace System.Runtime.Caching
{
    internal sealed class MemoryCacheEntry
    {
        private readonly DateTime _utcCreated;

        public MemoryCacheEntry(DateTime created) => _utcCreated = created;

        public override string ToString() => _utcCreated.ToString("O");
    }

    internal sealed class MemoryCacheStore
    {
        private readonly System.Collections.Hashtable _entries = new System.Collections.Hashtable();

        public void Add(string key, DateTime created) => _entries[key] = new MemoryCacheEntry(created);
    }
}
