// Every rule of every tenant is a compiled Regex of its own
using System;
using System.Collections.Generic;
using System.Text.RegularExpressions;
using Shop.Hosting;

namespace Acme.Rules
{
    internal static class Program
    {
        private static void Main()
        {
            var rules = new Dictionary<string, Regex>();
            for (int i = 0; i < 1_500; i++)
            {
                string pattern = "^tenant" + i + "/[a-z]+$";
                rules[pattern] = new Regex(pattern, RegexOptions.Compiled);
                rules[pattern].IsMatch("tenant/x");
            }

            new ConsoleHost(() => new Report().Add("rules", rules.Count)).Run();
            GC.KeepAlive(rules);
        }
    }
}
