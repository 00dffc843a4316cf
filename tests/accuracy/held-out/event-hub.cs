// View models subscribe to an event aggregator and are never taken off it
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Fabrikam.Desktop
{
    public interface IEventAggregator
    {
        void Subscribe<TEvent>(Action<TEvent> handler);
        void Publish<TEvent>(TEvent e);
    }

    public sealed class EventAggregator : IEventAggregator
    {
        public static EventAggregator Instance { get; } = new EventAggregator();

        private readonly Dictionary<Type, List<Delegate>> _handlers = new Dictionary<Type, List<Delegate>>();

        public void Subscribe<TEvent>(Action<TEvent> handler)
        {
            if (!_handlers.TryGetValue(typeof(TEvent), out var list))
            {
                _handlers.Add(typeof(TEvent), list = new List<Delegate>());
            }

            list.Add(handler);
        }

        public void Publish<TEvent>(TEvent e)
        {
            if (_handlers.TryGetValue(typeof(TEvent), out var list))
            {
                foreach (var handler in list)
                {
                    ((Action<TEvent>)handler)(e);
                }
            }
        }
    }

    public sealed class PriceChanged
    {
        public int Product;
        public decimal Price;
    }

    public sealed class ThemeChanged
    {
        public string Name;
    }

    public sealed class ProductViewModel
    {
        private readonly int _product;
        private readonly byte[] _thumbnail = new byte[2048];

        public ProductViewModel(int product, IEventAggregator events)
        {
            _product = product;
            events.Subscribe<PriceChanged>(OnPriceChanged);
            events.Subscribe<ThemeChanged>(e => _thumbnail[0] = (byte)e.Name.Length);
        }

        public decimal Price { get; private set; }

        private void OnPriceChanged(PriceChanged e)
        {
            if (e.Product == _product)
            {
                Price = e.Price;
            }
        }
    }

    public static class App
    {
        public static void Main()
        {
            for (int page = 0; page < 500; page++)
            {
                for (int i = 0; i < 40; i++)
                {
                    new ProductViewModel(page * 40 + i, EventAggregator.Instance);
                }
            }

            EventAggregator.Instance.Publish(new PriceChanged { Product = 3, Price = 1m });
            new ConsoleHost(() => new Report().Add("shown", 20_000)).Run();
        }
    }
}
