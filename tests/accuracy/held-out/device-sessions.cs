// Devices answer and hang up; the gateway keeps their sessions because TcpClient.Connected still says true
using System;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks;
using Shop.Hosting;

namespace AdventureWorks.Gateway
{
    /// <summary>Plays the devices: sends one frame and closes.</summary>
    public sealed class DeviceSimulator
    {
        private readonly TcpListener _listener = new TcpListener(IPAddress.Loopback, 0);

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public void Start()
        {
            _listener.Start(512);
            Task.Run(async () =>
            {
                while (true)
                {
                    using TcpClient peer = await _listener.AcceptTcpClientAsync();
                    await peer.GetStream().WriteAsync(new byte[16], 0, 16);
                    peer.Client.Shutdown(SocketShutdown.Send);
                }
            });
        }
    }

    public sealed class DeviceSession
    {
        private readonly TcpClient _client = new TcpClient();
        private readonly byte[] _frame = new byte[16];

        public string Serial { get; set; }

        public bool IsAlive => _client.Connected;

        public async Task<int> QueryAsync(int port)
        {
            await _client.ConnectAsync(IPAddress.Loopback, port);
            int read = 0;
            while (read < _frame.Length)
            {
                int more = await _client.GetStream().ReadAsync(_frame, read, _frame.Length - read);
                if (more == 0)
                {
                    throw new InvalidOperationException("The device hung up");
                }

                read += more;
            }

            return _frame[0];
        }

        public void Close() => _client.Close();
    }

    public sealed class SessionRegistry
    {
        private readonly ConcurrentDictionary<string, DeviceSession> _sessions = new ConcurrentDictionary<string, DeviceSession>();

        public int Count => _sessions.Count;

        public DeviceSession Open(string serial) => _sessions[serial] = new DeviceSession { Serial = serial };

        public void RemoveDead()
        {
            foreach (var pair in _sessions)
            {
                if (!pair.Value.IsAlive && _sessions.TryRemove(pair.Key, out DeviceSession dead))
                {
                    dead.Close();
                }
            }
        }
    }

    public static class Program
    {
        public static async Task Main()
        {
            var simulator = new DeviceSimulator();
            simulator.Start();
            var registry = new SessionRegistry();
            for (int i = 0; i < 900; i++)
            {
                await registry.Open($"AW-{i:D6}").QueryAsync(simulator.Port);
                if (i % 100 == 0)
                {
                    registry.RemoveDead();
                }
            }

            new ConsoleHost(() => new Report().Add("sessions", registry.Count)).Run();
            GC.KeepAlive(registry);
        }
    }
}
