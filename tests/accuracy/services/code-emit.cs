// A proxy assembly is emitted for every contract
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Reflection.Emit;
using Shop.Hosting;

namespace Acme.Proxies
{
    internal static class Program
    {
        private static void Main()
        {
            var proxies = new List<object>();
            for (int i = 0; i < 200; i++)
            {
                AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Proxy" + i), AssemblyBuilderAccess.Run);
                TypeBuilder type = assembly.DefineDynamicModule("main").DefineType("Contract" + i);
                proxies.Add(Activator.CreateInstance(type.CreateTypeInfo().AsType()));
            }

            new ConsoleHost(() => new Report().Add("proxies", proxies.Count)).Run();
            GC.KeepAlive(proxies);
        }
    }
}
