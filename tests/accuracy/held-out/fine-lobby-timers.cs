// Every open lobby has a timer that closes it; lobbies come and go, and their timers with them
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Tailspin.Lobbies
{
    internal sealed class Player
    {
        public Player(Guid id, int rating)
        {
            Id = id;
            Rating = rating;
        }

        public Guid Id { get; }

        public int Rating { get; }
    }

    internal sealed class Lobby : IDisposable
    {
        private readonly Timer idle;
        private readonly Timer beat;
        private readonly Player[] players = new Player[8];
        private readonly byte[] voice = new byte[4_000];
        private int seats;
        private int beats;

        public Lobby(int number, Action<Lobby> expired)
        {
            Number = number;
            idle = new Timer(_ => expired(this), null, TimeSpan.FromMinutes(20), Timeout.InfiniteTimeSpan);
            beat = new Timer(_ => voice[Interlocked.Increment(ref beats) % voice.Length]++, null, 90_000, 90_000);
        }

        public int Number { get; }

        public void Join(Player player)
        {
            players[seats++ % players.Length] = player;
            idle.Change(TimeSpan.FromMinutes(20), Timeout.InfiniteTimeSpan);
        }

        public void Dispose()
        {
            idle.Dispose();
            beat.Dispose();
        }
    }

    internal sealed class Matchmaker
    {
        private const int Capacity = 2_500;
        private readonly object gate = new object();
        private readonly SortedList<int, Lobby> open = new SortedList<int, Lobby>(Capacity);
        private readonly Random random = new Random(5);
        private int next;

        public int Opened => next;

        public int Open
        {
            get
            {
                lock (gate) return open.Count;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Serve(long lobbies)
        {
            for (long i = 0; i < lobbies; i++)
            {
                lock (gate)
                {
                    while (open.Count >= Capacity) Close(open.Values[0]);
                    var lobby = new Lobby(next++, Close);
                    for (int p = 0; p < 8; p++) lobby.Join(new Player(Guid.NewGuid(), random.Next(3_000)));
                    open.Add(lobby.Number, lobby);
                }
            }
        }

        private void Close(Lobby lobby)
        {
            lock (gate)
            {
                if (open.Remove(lobby.Number))
                {
                    lobby.Dispose();
                }
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var matchmaker = new Matchmaker();
            matchmaker.Serve(6_000);
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("opened", matchmaker.Opened).Add("open", matchmaker.Open))
                .On("serve", matchmaker.Serve)
                .Run();
        }
    }
}
