// Every visitor listens to a static event and leaves without a word
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Chat
{
    internal static class Hub
    {
        public static event Action<string> Said;

        public static int Listeners => Said == null ? 0 : Said.GetInvocationList().Length;
    }

    internal sealed class Visitor
    {
        private readonly List<string> heard = new List<string>(100);
        private readonly byte[] avatar = new byte[2_000];

        public Visitor()
        {
            Hub.Said += Hear;
        }

        private void Hear(string text)
        {
            heard.Add(text + avatar.Length);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 9_000; i++)
            {
                new Visitor();
            }

            new ConsoleHost(() => new Report().Add("listeners", Hub.Listeners)).Run();
        }
    }
}
