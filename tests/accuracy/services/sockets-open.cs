// A probe makes a socket for every check and forgets it
using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using Shop.Hosting;

namespace Acme.Probes
{
    internal sealed class Probe
    {
        private readonly Socket socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

        public bool IsOpen => socket.Connected;
    }

    internal static class Program
    {
        private static void Main()
        {
            var probes = new List<Probe>();
            for (int i = 0; i < 900; i++)
            {
                probes.Add(new Probe());
            }

            new ConsoleHost(() => new Report().Add("probes", probes.Count)).Run();
            GC.KeepAlive(probes);
        }
    }
}
