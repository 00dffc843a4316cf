// Chains of operators are subscribed to a subject that never completes, and the subscriptions are thrown away
using System;
using System.Threading;
using Shop.Hosting;

namespace Fabrikam.Telemetry.Reactive
{
    public sealed class Subject<T> : IObservable<T>, IObserver<T>
    {
        private IObserver<T>[] observers = Array.Empty<IObserver<T>>();
        private int count;

        public int Count => count;

        public IDisposable Subscribe(IObserver<T> observer)
        {
            lock (this)
            {
                if (count == observers.Length)
                {
                    Array.Resize(ref observers, Math.Max(4, count * 2));
                }

                observers[count++] = observer;
            }

            return new Subscription(this, observer);
        }

        public void OnNext(T value)
        {
            for (var i = 0; i < count; i++)
            {
                observers[i].OnNext(value);
            }
        }

        public void OnError(Exception error) { }

        public void OnCompleted() { }

        private sealed class Subscription : IDisposable
        {
            private Subject<T> subject;
            private readonly IObserver<T> observer;

            public Subscription(Subject<T> subject, IObserver<T> observer)
            {
                this.subject = subject;
                this.observer = observer;
            }

            public void Dispose()
            {
                var from = Interlocked.Exchange(ref subject, null);
                if (from == null)
                {
                    return;
                }

                lock (from)
                {
                    var at = Array.IndexOf(from.observers, observer);
                    from.observers[at] = from.observers[--from.count];
                    from.observers[from.count] = null;
                }
            }
        }
    }

    public static class Observable
    {
        public static IObservable<R> Select<T, R>(this IObservable<T> source, Func<T, R> map) => new Map<T, R>(source, map);

        public static IObservable<T> Where<T>(this IObservable<T> source, Func<T, bool> keep) => new Filter<T>(source, keep);

        public static IDisposable Subscribe<T>(this IObservable<T> source, Action<T> next) => source.Subscribe(new Anonymous<T>(next));

        private sealed class Map<T, R> : IObservable<R>
        {
            private readonly IObservable<T> source;
            private readonly Func<T, R> map;

            public Map(IObservable<T> source, Func<T, R> map) { this.source = source; this.map = map; }

            public IDisposable Subscribe(IObserver<R> observer) => source.Subscribe(new Anonymous<T>(v => observer.OnNext(map(v))));
        }

        private sealed class Filter<T> : IObservable<T>
        {
            private readonly IObservable<T> source;
            private readonly Func<T, bool> keep;

            public Filter(IObservable<T> source, Func<T, bool> keep) { this.source = source; this.keep = keep; }

            public IDisposable Subscribe(IObserver<T> observer) => source.Subscribe(new Anonymous<T>(v => { if (keep(v)) observer.OnNext(v); }));
        }

        private sealed class Anonymous<T> : IObserver<T>
        {
            private readonly Action<T> next;

            public Anonymous(Action<T> next) => this.next = next;

            public void OnNext(T value) => next(value);

            public void OnError(Exception error) { }

            public void OnCompleted() { }
        }
    }

    public sealed class Reading
    {
        public int Device;
        public double Value;
    }

    public sealed class DeviceSession
    {
        private readonly double[] window = new double[256];
        private int at;

        public DeviceSession(int device, IObservable<Reading> readings)
        {
            readings.Where(r => r.Device == device).Select(r => r.Value * 1.8 + 32).Subscribe(v => window[at++ % window.Length] = v);
        }
    }

    public static class Program
    {
        private static void Main()
        {
            var bus = new Subject<Reading>();
            for (int device = 0; device < 25_000; device++)
            {
                new DeviceSession(device, bus);
            }

            bus.OnNext(new Reading { Device = 17, Value = 21.5 });
            new ConsoleHost(() => new Report().Add("observers", bus.Count)).Run();
            bus.OnCompleted();
        }
    }
}
