// One object of every kind of type that a compiler makes up or a name can be composed of, each with the name it should have.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading.Tasks;
using Shop.Hosting;
using Shop.Names;

// Some fields are there for the shape alone.
#pragma warning disable CS0649

// Top-level statements: the compiler makes a class Program with a method <Main>$.
int captured = args.Length + 7;
Func<int> fromMain = () => captured;
Shown.Add("lambda in Program.Main", fromMain.Target);
Catalog.Fill();
new ConsoleHost(() => new Report().Add("names", Shown.All.Select(s => new Report()
    .Add("name", s.Name)
    .Add("method_table", Shown.MethodTable(s.Value))).ToList())).Run();

namespace System.Runtime.CompilerServices
{
    // Records need it; 3.1 does not have it.
    internal static class IsExternalInit
    {
    }
}

namespace Shop.Names
{
    internal static class Shown
    {
        public static readonly List<(string Name, object Value)> All = new List<(string, object)>();

        public static void Add(string name, object value) => All.Add((name, value));

        public static unsafe string MethodTable(object value)
        {
            TypedReference reference = __makeref(value);
#pragma warning disable CS8500
            return "0x" + (***(long***)&reference).ToString("x");
#pragma warning restore CS8500
        }
    }

    internal record Order(int Number, string Customer);

    internal record struct Price(long Cents);

    file sealed class Hidden
    {
        internal sealed class Inner
        {
        }
    }

    internal delegate void Changed(object sender);

    internal class Box<T>
    {
        public T Value;

        internal class Lid<TColor>
        {
            public TColor Color;

            internal struct Screw
            {
                public int Turns;
            }
        }

        internal enum Size
        {
            Small,
        }

        public Func<T> Later(T value)
        {
            T kept = value;
            return () => kept;
        }

        public IEnumerable<T> Twice(T value)
        {
            yield return value;
            yield return value;
        }
    }

    internal unsafe struct Raw
    {
        public fixed byte Bytes[16];
    }

    internal sealed class Till(string owner)
    {
        public string Label { get; } = "till of " + owner;

        public string Owner() => owner;

        public async Task WaitAsync(Task gate)
        {
            await gate.ConfigureAwait(false);
        }

        public async ValueTask<int> CountAsync(Task gate)
        {
            await gate.ConfigureAwait(false);
            return 1;
        }

        public async IAsyncEnumerable<int> StreamAsync(Task gate)
        {
            await gate.ConfigureAwait(false);
            yield return 1;
        }

        public IEnumerator<int> Coins()
        {
            yield return 1;
        }

        public Func<int> Local(int start)
        {
            int count = start;
            return Next;

            int Next() => count++;
        }

        public Func<Task> AsyncLambda(Task gate)
        {
            int n = owner.Length;
            return async () =>
            {
                await gate.ConfigureAwait(false);
                n++;
            };
        }

        public Func<Func<int>> Nested(int a)
        {
            return () =>
            {
                int b = a + 1;
                return () => a + b;
            };
        }

        public IEnumerable<int> Items
        {
            get
            {
                yield return 2;
            }
        }

        public Func<string> Getter
        {
            get
            {
                string text = owner;
                return () => text;
            }
        }

        public int this[Func<int> index]
        {
            get => index();
        }

        public Func<int> FromConstructor;

        public Till(int number)
            : this(number.ToString())
        {
            int kept = number;
            FromConstructor = () => kept;
        }

        public static Func<int, int> Static() => x => x + 1;

        public static Func<string, int> Group() => int.Parse;
    }

    internal static unsafe class Catalog
    {
        public static readonly TaskCompletionSource<bool> Gate = new TaskCompletionSource<bool>();

        public static void Fill()
        {
            Shown.Add("System.String", "text");
            Shown.Add("System.Int32", 4);
            Shown.Add("System.Object", new object());
            Shown.Add("System.String[]", new string[2]);
            Shown.Add("System.Int32[][]", new int[2][]);
            Shown.Add("System.Int32[,]", new int[2, 2]);
            Shown.Add("System.Int32[,][]", new int[2, 2][]);
            Shown.Add("System.Int32[][,,]", new int[2][,,]);
            Shown.Add("System.Int32[*]", Array.CreateInstance(typeof(int), new[] { 2 }, new[] { 1 }));
            Shown.Add("System.Int32*[]", new int*[2]);
            Shown.Add("System.Int32**[]", new int**[2]);
            Shown.Add("delegate*<System.Int32, System.Void>[]", new delegate*<int, void>[2]);
            Shown.Add("System.Collections.Generic.List<System.Collections.Generic.Dictionary<System.String, System.Int32[]>>", new List<Dictionary<string, int[]>>());
            Shown.Add("System.Collections.Generic.List<System.Int32>[]", new List<int>[1]);
            Shown.Add("System.ValueTuple<System.Int32, System.String>", (1, "b"));
            Shown.Add("System.Nullable<System.Int32>[]", new int?[1]);
            Shown.Add("Shop.Names.Order", new Order(1, "a"));
            Shown.Add("Shop.Names.Price", new Price(1));
            Shown.Add("Shop.Names.Hidden", new Hidden());
            Shown.Add("Shop.Names.Hidden.Inner", new Hidden.Inner());
            Shown.Add("Shop.Names.Changed", new Changed(_ => { }));
            Shown.Add("Shop.Names.Box<Shop.Names.Order>", new Box<Order>());
            Shown.Add("Shop.Names.Box<Shop.Names.Order>.Lid<System.Byte>", new Box<Order>.Lid<byte>());
            Shown.Add("Shop.Names.Box<System.Int32>.Lid<System.String>.Screw", new Box<int>.Lid<string>.Screw());
            Shown.Add("Shop.Names.Box<System.Int32>.Size", Box<int>.Size.Small);
            Shown.Add("Shop.Names.Box<Shop.Names.Box<System.Int32>.Size[]>", new Box<Box<int>.Size[]>());
            Shown.Add("Shop.Names.Raw", new Raw());
            Shown.Add("Shop.Names.Raw.Bytes (fixed buffer)", Activator.CreateInstance(typeof(Raw).GetField("Bytes").FieldType));
            Shown.Add("anonymous { Name, Total }<System.String, System.Int32>", new { Name = "a", Total = 1 });
            Shown.Add("anonymous { Name, Total }<System.String, System.Int32>[]", new[] { new { Name = "a", Total = 1 } });

            var till = new Till("anna");
            Task gate = Gate.Task;
            Shown.Add("Shop.Names.Till", till);
            Shown.Add("Shop.Names.Till.Coins (iterator)", till.Coins());
            Shown.Add("Shop.Names.Till.Items (iterator)", till.Items);
            Shown.Add("Shop.Names.Till.StreamAsync (async iterator)", till.StreamAsync(gate));
            Shown.Add("lambda in Shop.Names.Till.Local", till.Local(1).Target);
            Shown.Add("lambda in Shop.Names.Till.AsyncLambda", till.AsyncLambda(gate).Target);
            Shown.Add("lambda in Shop.Names.Till.Nested", till.Nested(1).Target);
            Shown.Add("lambda in Shop.Names.Till.Nested", till.Nested(1)().Target);
            Shown.Add("lambda in Shop.Names.Till.Getter", till.Getter.Target);
            Shown.Add("lambda in Shop.Names.Till constructor", new Till(3).FromConstructor.Target);
            Shown.Add("lambdas in Shop.Names.Till", Till.Static().Target);
            Shown.Add("lambda in Shop.Names.Box<System.String>.Later", new Box<string>().Later("a").Target);
            Shown.Add("Shop.Names.Box<System.Int32>.Twice (iterator)", new Box<int>().Twice(1));
            Shown.Add("Shop.Names.Till.WaitAsync (async)", Machine(till.WaitAsync(gate)));
            Shown.Add("Shop.Names.Till.CountAsync (async)", Machine(till.CountAsync(gate).AsTask()));
            Shown.Add("lambda in Shop.Names.Till.AsyncLambda (async)", Machine(till.AsyncLambda(gate)()));
            Group = Till.Group();
            Increment = Till.Static();
        }

        public static Func<string, int> Group;
        public static Func<int, int> Increment;

        /// <summary>The runtime's box of a state machine is the task itself.</summary>
        private static object Machine(Task task) => task;
    }
}
