// State is attached to topic names; the names are interned, so what is attached to them never goes
using System;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Fabrikam.Shadows
{
    internal struct Sample
    {
        public long Ticks;
        public double Value;
        public int Quality;
    }

    /// <summary>The last readings of one topic, as a ring.</summary>
    internal sealed class TopicShadow
    {
        private readonly Sample[] ring = new Sample[360];
        private int next;

        public void Push(in Sample sample)
        {
            ring[next] = sample;
            next = (next + 1) % ring.Length;
        }
    }

    /// <summary>Attaches anything to anything for as long as that lives.</summary>
    internal sealed class Attachments<TOwner, TAttached>
        where TOwner : class
        where TAttached : class, new()
    {
        private readonly ConditionalWeakTable<TOwner, TAttached> table = new ConditionalWeakTable<TOwner, TAttached>();

        public TAttached Of(TOwner owner) => table.GetOrCreateValue(owner);
    }

    internal readonly ref struct Packet
    {
        public Packet(ReadOnlySpan<char> topic, double value)
        {
            Topic = topic;
            Value = value;
        }

        public ReadOnlySpan<char> Topic { get; }

        public double Value { get; }
    }

    internal sealed class Broker
    {
        private readonly Attachments<string, TopicShadow> shadows = new Attachments<string, TopicShadow>();
        private long clock;

        public long Packets { get; private set; }

        public void Accept(in Packet packet)
        {
            // Interned so that topics can be compared by reference; a device makes up a new one at each boot.
            string topic = string.Intern(packet.Topic.ToString());
            shadows.Of(topic).Push(new Sample { Ticks = clock++, Value = packet.Value, Quality = 192 });
            Packets++;
        }
    }

    internal sealed class Fleet
    {
        private readonly Broker broker;
        private int boots;

        public Fleet(Broker broker) => this.broker = broker;

        public int Boots => boots;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Boot(long devices)
        {
            Span<char> topic = stackalloc char[64];
            for (long device = 0; device < devices; device++)
            {
                "plant/line-".AsSpan().CopyTo(topic);
                int at = 11;
                boots++;
                boots.TryFormat(topic.Slice(at), out int written);
                at += written;
                "/temperature".AsSpan().CopyTo(topic.Slice(at));
                for (int i = 0; i < 20; i++)
                {
                    broker.Accept(new Packet(topic.Slice(0, at + 12), 20 + i * 0.25));
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var broker = new Broker();
            var fleet = new Fleet(broker);
            fleet.Boot(7_000);
            new ConsoleHost(() => new Report().Add("boots", fleet.Boots).Add("packets", broker.Packets))
                .On("serve", fleet.Boot)
                .Run();
            GC.KeepAlive(fleet);
        }
    }
}
