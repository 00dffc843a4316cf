// A singleton keeps one data context for ever, and its change tracker keeps every entity that was ever read
using System;
using System.Collections.Generic;
using System.Linq;
using Shop.Hosting;

namespace Contoso.Sales.Data
{
    public enum EntityState { Unchanged, Added, Modified, Deleted }

    public sealed class EntityEntry
    {
        public EntityEntry(object entity, object[] original)
        {
            Entity = entity;
            OriginalValues = original;
        }

        public object Entity { get; }
        public object[] OriginalValues { get; }
        public EntityState State { get; set; }
    }

    public sealed class ChangeTracker
    {
        private readonly Dictionary<(Type, object), EntityEntry> identityMap = new Dictionary<(Type, object), EntityEntry>();

        public int Count => identityMap.Count;

        public T Track<T>(object key, Func<T> materialize, Func<T, object[]> snapshot) where T : class
        {
            if (identityMap.TryGetValue((typeof(T), key), out var known))
            {
                return (T)known.Entity;
            }

            var entity = materialize();
            identityMap.Add((typeof(T), key), new EntityEntry(entity, snapshot(entity)));
            return entity;
        }

        public IEnumerable<EntityEntry> Changed() => identityMap.Values.Where(e => e.State != EntityState.Unchanged);
    }

    public sealed class Invoice
    {
        public int Id { get; set; }
        public string Number { get; set; }
        public string Customer { get; set; }
        public decimal Total { get; set; }
        public DateTime Issued { get; set; }
        public List<InvoiceLine> Lines { get; } = new List<InvoiceLine>();
    }

    public sealed class InvoiceLine
    {
        public string Article { get; set; }
        public int Quantity { get; set; }
        public decimal Price { get; set; }
    }

    public sealed class SalesContext : IDisposable
    {
        public ChangeTracker Tracker { get; } = new ChangeTracker();

        public Invoice FindInvoice(int id) => Tracker.Track(id, () => Load(id), Snapshot);

        public void Dispose()
        {
        }

        private static Invoice Load(int id)
        {
            var invoice = new Invoice { Id = id, Number = $"2024-{id:D7}", Customer = $"Customer {id % 5000}", Issued = DateTime.UtcNow };
            for (var i = 0; i < 3; i++)
            {
                invoice.Lines.Add(new InvoiceLine { Article = $"SKU-{id % 900}-{i}", Quantity = i + 1, Price = 9.99m });
            }

            return invoice;
        }

        private static object[] Snapshot(Invoice i) => new object[] { i.Id, i.Number, i.Customer, i.Total, i.Issued };
    }

    public interface IInvoiceRepository
    {
        Invoice Get(int id);
    }

    public sealed class InvoiceRepository : IInvoiceRepository
    {
        private readonly SalesContext context;

        public InvoiceRepository(SalesContext context) => this.context = context;

        public Invoice Get(int id) => context.FindInvoice(id);
    }

    public sealed class ServiceProvider
    {
        private readonly Dictionary<Type, Func<object>> factories = new Dictionary<Type, Func<object>>();
        private readonly Dictionary<Type, object> singletons = new Dictionary<Type, object>();

        public ServiceProvider AddSingleton<T>(Func<ServiceProvider, T> factory) where T : class
        {
            factories[typeof(T)] = () =>
            {
                if (!singletons.TryGetValue(typeof(T), out var instance))
                {
                    singletons[typeof(T)] = instance = factory(this);
                }

                return instance;
            };
            return this;
        }

        public T Get<T>() where T : class => (T)factories[typeof(T)]();
    }

    internal static class Program
    {
        private static readonly ServiceProvider Services = new ServiceProvider()
            .AddSingleton(_ => new SalesContext())
            .AddSingleton<IInvoiceRepository>(s => new InvoiceRepository(s.Get<SalesContext>()));

        private static decimal total;

        private static void Main()
        {
            for (var id = 0; id < 220_000; id++)
            {
                total += Services.Get<IInvoiceRepository>().Get(id).Lines.Sum(l => l.Price * l.Quantity);
            }

            new ConsoleHost(() => new Report().Add("tracked", Services.Get<SalesContext>().Tracker.Count)).Run();
        }
    }
}
