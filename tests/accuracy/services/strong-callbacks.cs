// A native callback gets a strong handle for its context, and unregistering forgets to free it
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Acme.Interop
{
    internal sealed class CallbackContext
    {
        public int Id;
        public byte[] State = new byte[1_500];
    }

    internal static class Native
    {
        public static int Registered;

        public static IntPtr Register(CallbackContext context)
        {
            Registered++;
            return GCHandle.ToIntPtr(GCHandle.Alloc(context));
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 25_000; i++)
            {
                Native.Register(new CallbackContext { Id = i });
            }

            new ConsoleHost(() => new Report().Add("registered", Native.Registered)).Run();
        }
    }
}
