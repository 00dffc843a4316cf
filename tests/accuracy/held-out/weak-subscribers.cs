// Weak references to subscribers are added to a list and never taken out
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Tailspin.Messaging
{
    public interface ISubscriber
    {
        void Handle(string message);
    }

    public class WeakMessenger
    {
        public static readonly WeakMessenger Default = new WeakMessenger();

        private readonly List<WeakReference<ISubscriber>> _subscribers = new List<WeakReference<ISubscriber>>();

        public int Count => _subscribers.Count;

        public void Register(ISubscriber subscriber) => _subscribers.Add(new WeakReference<ISubscriber>(subscriber));

        public void Send(string message)
        {
            foreach (var reference in _subscribers)
            {
                if (reference.TryGetTarget(out var subscriber))
                {
                    subscriber.Handle(message);
                }
            }
        }
    }

    public class OrderDialog : ISubscriber
    {
        private string _last;

        public void Handle(string message) => _last = message;
    }

    public static class Program
    {
        public static void Main()
        {
            OpenDialogs(400_000);
            GC.Collect();
            WeakMessenger.Default.Send("closing");
            new ConsoleHost(() => new Report().Add("references", WeakMessenger.Default.Count)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void OpenDialogs(int count)
        {
            for (int i = 0; i < count; i++)
            {
                WeakMessenger.Default.Register(new OrderDialog());
            }
        }
    }
}
