// Every session starts a timer that keeps it fresh, and nobody stops the timer when the session ends.
using System;
using System.Threading;
using Shop.Hosting;

namespace Shop.Sessions
{
    internal sealed class Session
    {
        private readonly byte[] state = new byte[5_000];
        private readonly Timer refresh;

        public Session()
        {
            refresh = new Timer(Refresh, null, TimeSpan.FromHours(1), TimeSpan.FromHours(1));
        }

        private void Refresh(object ignored)
        {
            state[0]++;
            GC.KeepAlive(refresh);
        }
    }

    internal static class Program
    {
        private const int Sessions = 12_000;

        private static void Main()
        {
            for (int i = 0; i < Sessions; i++)
            {
                new Session();
            }

            new ConsoleHost(() => new Report().Add("sessions", Sessions)).Run();
        }
    }
}
