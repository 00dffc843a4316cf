// A channel without a bound is filled faster than it is read
using System;
using System.Threading.Channels;
using Shop.Hosting;

namespace Acme.Events
{
    internal sealed class Message
    {
        public int Number;
        public byte[] Payload = new byte[400];
    }

    internal sealed class Pipeline
    {
        private readonly Channel<Message> channel = Channel.CreateUnbounded<Message>();

        public void Write(int count)
        {
            for (int i = 0; i < count; i++)
            {
                channel.Writer.TryWrite(new Message { Number = i });
            }
        }
    }

    internal static class Program
    {
        private static readonly Pipeline Events = new Pipeline();

        private static void Main()
        {
            Events.Write(140_000);
            new ConsoleHost(() => new Report().Add("messages", 140_000)).Run();
        }
    }
}
