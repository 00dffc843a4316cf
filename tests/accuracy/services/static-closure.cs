// A static callback has captured the list that it fills
using System;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Mail
{
    internal sealed class Mail
    {
        public string To;
        public char[] Body = new char[400];
    }

    internal static class Mailer
    {
        private static Action<int> deliver;
        private static Func<int> delivered;

        public static void Start()
        {
            var sent = new List<Mail>();
            delivered = () => sent.Count;
            deliver = i => sent.Add(new Mail { To = "customer " + i });
        }

        public static void Deliver(int i) => deliver(i);

        public static int Delivered => delivered();
    }

    internal static class Program
    {
        private static void Main()
        {
            Mailer.Start();
            for (int i = 0; i < Gauge.Scaled(110_000); i++)
            {
                Mailer.Deliver(i);
            }

            new ConsoleHost(() => new Report().Add("sent", Mailer.Delivered)).Run();
        }
    }
}
