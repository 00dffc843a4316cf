// A mapper is generated for every import, each in an assembly of its own that can never be unloaded.
using System;
using System.Reflection;
using System.Reflection.Emit;
using Shop.Hosting;

namespace Shop.Import
{
    internal static class Program
    {
        private const int Imports = 1_000;
        private static int made;

        private static void Main()
        {
            for (int i = 0; i < Imports; i++)
            {
                Generate(i);
            }

            new ConsoleHost(() => new Report().Add("mappers", made)).Run();
        }

        private static void Generate(int number)
        {
            var name = new AssemblyName("Shop.Import.Mapper" + number);
            ModuleBuilder module = AssemblyBuilder.DefineDynamicAssembly(name, AssemblyBuilderAccess.Run)
                .DefineDynamicModule("mapper");
            Type mapper = module.DefineType("Mapper", TypeAttributes.Public).CreateTypeInfo().AsType();
            made += Activator.CreateInstance(mapper) == null ? 0 : 1;
        }
    }
}
