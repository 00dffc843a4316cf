// Sessions with finalizers are kept and never disposed
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Terminal
{
    internal sealed class Session : IDisposable
    {
        private IntPtr handle = new IntPtr(1);

        ~Session()
        {
            handle = IntPtr.Zero;
        }

        public void Dispose()
        {
            handle = IntPtr.Zero;
            GC.SuppressFinalize(this);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var sessions = new List<Session>();
            for (int i = 0; i < 40_000; i++)
            {
                sessions.Add(new Session());
            }

            new ConsoleHost(() => new Report().Add("sessions", sessions.Count)).Run();
            GC.KeepAlive(sessions);
        }
    }
}
