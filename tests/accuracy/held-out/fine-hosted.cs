// A host with some hundred subscriptions, timers and loops that all belong to its modules
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Fabrikam.Hosting
{
    public interface IHostedService
    {
        Task StartAsync(CancellationToken stopping);
    }

    public sealed class Clock
    {
        public event EventHandler<DateTime> Tick;

        public void Advance(DateTime now) => Tick?.Invoke(this, now);
    }

    public sealed class Module : IHostedService
    {
        private readonly string name;
        private readonly Queue<string> recent = new Queue<string>();
        private Timer heartbeat;

        public Module(string name, Clock clock)
        {
            this.name = name;
            clock.Tick += (sender, now) => Note($"{name} saw {now:O}");
        }

        public Task StartAsync(CancellationToken stopping)
        {
            heartbeat = new Timer(_ => Note(name + " is alive"), null, 1_000, 5_000);
            stopping.Register(() => heartbeat.Dispose());
            return LoopAsync(stopping);
        }

        private async Task LoopAsync(CancellationToken stopping)
        {
            while (!stopping.IsCancellationRequested)
            {
                Note($"{name} polls");
                await Task.Delay(TimeSpan.FromSeconds(2), stopping);
            }
        }

        private void Note(string line)
        {
            lock (recent)
            {
                recent.Enqueue(line);
                while (recent.Count > 200)
                {
                    recent.Dequeue();
                }
            }
        }
    }

    public static class Program
    {
        public static void Main()
        {
            var clock = new Clock();
            var stopping = new CancellationTokenSource();
            var modules = new List<IHostedService>();
            for (int i = 0; i < 250; i++)
            {
                modules.Add(new Module("module " + i, clock));
            }

            foreach (var module in modules)
            {
                _ = module.StartAsync(stopping.Token);
            }

            for (int i = 0; i < 16; i++)
            {
                new Thread(() => stopping.Token.WaitHandle.WaitOne()) { IsBackground = true, Name = "worker" }.Start();
            }

            Tick(500);
            new ConsoleHost(() => new Report().Add("modules", modules.Count)).On("tick", Tick).Run();
            GC.KeepAlive(modules);

            void Tick(long count)
            {
                for (long i = 0; i < count; i++)
                {
                    clock.Advance(DateTime.UtcNow);
                }
            }
        }
    }
}
