// The tax office sends its rates as formulas; each assessment compiles its formula anew, into an assembly of its own
using System;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Fiscus.Engine
{
    internal struct Bracket
    {
        public double From;
        public double Rate;
    }

    internal static class FormulaCompiler
    {
        public static Func<double, double> Compile(string canton, Bracket[] brackets)
        {
            AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(
                new AssemblyName("Formula." + canton), AssemblyBuilderAccess.Run);
            TypeBuilder type = assembly.DefineDynamicModule("Formula").DefineType("Tariff", TypeAttributes.Public);
            MethodBuilder method = type.DefineMethod(
                "Tax", MethodAttributes.Public | MethodAttributes.Static, typeof(double), new[] { typeof(double) });
            ILGenerator il = method.GetILGenerator();
            il.Emit(OpCodes.Ldc_R8, 0.0);
            foreach (Bracket bracket in brackets)
            {
                // + max(0, income - from) * rate
                il.Emit(OpCodes.Ldc_R8, 0.0);
                il.Emit(OpCodes.Ldarg_0);
                il.Emit(OpCodes.Ldc_R8, bracket.From);
                il.Emit(OpCodes.Sub);
                il.Emit(OpCodes.Call, typeof(Math).GetMethod(nameof(Math.Max), new[] { typeof(double), typeof(double) }));
                il.Emit(OpCodes.Ldc_R8, bracket.Rate);
                il.Emit(OpCodes.Mul);
                il.Emit(OpCodes.Add);
            }

            il.Emit(OpCodes.Ret);
            return (Func<double, double>)type.CreateTypeInfo().GetMethod("Tax").CreateDelegate(typeof(Func<double, double>));
        }
    }

    internal sealed class AssessmentDesk
    {
        private static readonly string[] Cantons = { "ZH", "BE", "UR", "VD", "TI", "GE", "JU", "SG" };

        public int Assessed { get; private set; }

        public double Revenue { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Assess(int taxpayers)
        {
            for (int i = 0; i < taxpayers; i++)
            {
                Revenue += Tax(Cantons[i % Cantons.Length], 30_000 + i * 17 % 120_000);
                Assessed++;
            }
        }

        private static double Tax(string canton, double income)
        {
            var brackets = new[]
            {
                new Bracket { From = 12_000, Rate = 0.02 },
                new Bracket { From = 40_000 + canton[0] * 10, Rate = 0.055 },
                new Bracket { From = 90_000 + canton[1] * 20, Rate = 0.08 },
            };
            return FormulaCompiler.Compile(canton, brackets)(income);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var desk = new AssessmentDesk();
            desk.Assess(1_600);
            new ConsoleHost(() => new Report()
                .Add("assessed", desk.Assessed)
                .Add("assemblies", AppDomain.CurrentDomain.GetAssemblies().Length)).Run();
        }
    }
}
