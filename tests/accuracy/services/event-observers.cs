// A subject keeps its observers in a list of interfaces; subscriptions are never disposed
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Feeds
{
    internal sealed class Feed : IObservable<int>
    {
        private readonly List<IObserver<int>> observers = new List<IObserver<int>>();

        public int Count => observers.Count;

        public IDisposable Subscribe(IObserver<int> observer)
        {
            observers.Add(observer);
            return new Subscription(observers, observer);
        }

        private sealed class Subscription : IDisposable
        {
            private readonly List<IObserver<int>> observers;
            private readonly IObserver<int> observer;

            public Subscription(List<IObserver<int>> observers, IObserver<int> observer)
            {
                this.observers = observers;
                this.observer = observer;
            }

            public void Dispose() => observers.Remove(observer);
        }
    }

    internal sealed class Tile : IObserver<int>
    {
        private readonly byte[] bitmap = new byte[6_000];

        public void OnCompleted()
        {
        }

        public void OnError(Exception error)
        {
        }

        public void OnNext(int value) => bitmap[0] = (byte)value;
    }

    internal static class Program
    {
        private static readonly Feed News = new Feed();

        private static void Main()
        {
            for (int i = 0; i < 14_000; i++)
            {
                News.Subscribe(new Tile());
            }

            new ConsoleHost(() => new Report().Add("observers", News.Count)).Run();
        }
    }
}
