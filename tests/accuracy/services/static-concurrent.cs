// Sign-ins are remembered by a random key in a static ConcurrentDictionary, and sign-outs are forgotten
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using Shop.Hosting;

namespace Acme.Identity
{
    internal sealed class SignIn
    {
        public Guid Key;
        public string User;
        public DateTime At;
        public Dictionary<string, string> Claims;
    }

    internal static class SignIns
    {
        public static readonly ConcurrentDictionary<Guid, SignIn> ByKey = new ConcurrentDictionary<Guid, SignIn>();

        public static void Add(long count)
        {
            for (long i = 0; i < count; i++)
            {
                var signIn = new SignIn
                {
                    Key = Guid.NewGuid(),
                    User = "user " + i,
                    At = new DateTime(2026, 1, 1),
                    Claims = new Dictionary<string, string> { ["sub"] = "user" + i, ["scope"] = "shop" },
                };
                ByKey[signIn.Key] = signIn;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            SignIns.Add(Gauge.Scaled(150_000));
            new ConsoleHost(() => new Report().Add("sign_ins", SignIns.ByKey.Count)).On("grow", SignIns.Add).Run();
        }
    }
}
