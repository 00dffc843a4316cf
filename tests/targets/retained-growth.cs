// Chat sessions are opened and never closed. No static field holds them: the hub lives in a local variable of Main.
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Shop.Chat
{
    internal sealed class Session
    {
        public string User;
        public byte[] History;
    }

    internal sealed class Hub
    {
        private readonly List<Session> sessions = new List<Session>();

        public int Sessions => sessions.Count;

        public void OpenMegabytes(long megabytes)
        {
            const int HistoryBytes = 4_000;
            long wanted = megabytes * 1_000_000 / HistoryBytes;
            for (long i = 0; i < wanted; i++)
            {
                sessions.Add(new Session { User = "user-" + sessions.Count, History = new byte[HistoryBytes] });
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var hub = new Hub();
            hub.OpenMegabytes(Gauge.Scaled(80));
            new ConsoleHost(() => new Report().Add("sessions", hub.Sessions).Add("gc", Gauge.Heap()))
                .On("open", hub.OpenMegabytes)
                .Run();
        }
    }
}
