// Every player has a dictionary with room for a hundred that stays empty
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Games
{
    internal sealed class Player
    {
        public int Id;
        public Dictionary<long, long> Achievements = new Dictionary<long, long>(100);
    }

    internal static class Program
    {
        private static void Main()
        {
            var players = new List<Player>();
            for (int i = 0; i < 32_000; i++)
            {
                players.Add(new Player { Id = i });
            }

            new ConsoleHost(() => new Report().Add("players", players.Count)).Run();
            GC.KeepAlive(players);
        }
    }
}
