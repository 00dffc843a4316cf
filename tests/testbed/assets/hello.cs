// Proves that a DOTNET_ROOT is whole: loads every assembly of the framework that it runs on.
using System;
using System.IO;
using System.Reflection;

namespace Leakhound.Testbed
{
    internal static class Hello
    {
        private static int Main()
        {
            string folder = Path.GetDirectoryName(typeof(object).Assembly.Location);
            int loaded = 0;
            foreach (string file in Directory.GetFiles(folder, "*.dll"))
            {
                AssemblyName name;
                try
                {
                    name = AssemblyName.GetAssemblyName(file);
                }
                catch (BadImageFormatException)
                {
                    continue; // a native library
                }
                Assembly.Load(name);
                loaded++;
            }
            Console.WriteLine("hello " + Environment.Version + " " + loaded);
            return 0;
        }
    }
}
