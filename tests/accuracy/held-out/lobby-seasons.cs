// Match rooms listen to the season clock; when the match is over they are dropped, but nobody takes the handler off
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Arcadia.Lobby
{
    public class SeasonEventArgs : EventArgs
    {
        public int Season;
        public int Day;
    }

    public static class SeasonClock
    {
        public static event EventHandler<SeasonEventArgs> DayChanged;

        public static int Listeners => DayChanged == null ? 0 : DayChanged.GetInvocationList().Length;

        public static void Advance(int season, int day)
        {
            DayChanged?.Invoke(null, new SeasonEventArgs { Season = season, Day = day });
        }
    }

    public class MatchRoom
    {
        private readonly float[] positions;
        private readonly string name;
        private double bonus = 1.0;

        public MatchRoom(string name, int players)
        {
            this.name = name;
            positions = new float[players * 256];
            SeasonClock.DayChanged += OnDayChanged;
        }

        public string Play(Random dice)
        {
            for (int i = 0; i < positions.Length; i++)
            {
                positions[i] = (float)(dice.NextDouble() * bonus);
            }

            return name + " won by player " + dice.Next(positions.Length / 256);
        }

        private void OnDayChanged(object sender, SeasonEventArgs e)
        {
            bonus = 1.0 + e.Day % 7 * 0.05;
        }
    }

    public class Lobby
    {
        private readonly Queue<string> lastResults = new Queue<string>();
        private readonly Random dice = new Random(77);

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Evening(int matches)
        {
            for (int m = 0; m < matches; m++)
            {
                var room = new MatchRoom("room-" + m, 8);
                lastResults.Enqueue(room.Play(dice));
                if (lastResults.Count > 25)
                {
                    lastResults.Dequeue();
                }
            }
        }
    }

    public static class Program
    {
        public static void Main(string[] args)
        {
            var lobby = new Lobby();
            lobby.Evening(7000);
            SeasonClock.Advance(3, 12);
            GC.Collect();
            new ConsoleHost(() => new Report().Add("listeners", SeasonClock.Listeners)).Run();
            GC.KeepAlive(lobby);
        }
    }
}
