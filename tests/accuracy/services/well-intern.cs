// Two hundred thousand names are interned at the start
using System;
using Shop.Hosting;

namespace Acme.Well10
{
    internal static class Program
    {
        private static void Main()
        {
            var names = new string[200_000];
            for (int i = 0; i < names.Length; i++)
            {
                names[i] = string.Intern("resource/name/" + i);
            }

            new ConsoleHost(() => new Report().Add("names", names.Length)).Run();
            GC.KeepAlive(names);
        }
    }
}
