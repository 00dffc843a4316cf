// A callback is handed to native code for every call, with a handle that is never freed.
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Shop.Interop
{
    internal sealed class Callback
    {
        public readonly byte[] State = new byte[2_000];
    }

    internal static class Program
    {
        private const int Calls = 30_000;

        private static void Main()
        {
            for (int i = 0; i < Calls; i++)
            {
                GCHandle.Alloc(new Callback());
            }

            new ConsoleHost(() => new Report().Add("calls", Calls)).Run();
        }
    }
}
