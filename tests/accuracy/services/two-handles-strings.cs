// Strong handles that are not freed, and the same text a million times
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Pair4
{
    internal sealed class Peer
    {
        public byte[] Buffer = new byte[1_500];
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 25_000; i++)
            {
                GCHandle.Alloc(new Peer());
            }

            var names = new List<string>();
            for (int i = 0; i < 800_000; i++)
            {
                names.Add(new string("production-west".ToCharArray()));
            }

            new ConsoleHost(() => new Report().Add("names", names.Count)).Run();
            GC.KeepAlive(names);
        }
    }
}
