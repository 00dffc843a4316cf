// The context of every native call is put into a GCHandle, and only successful calls free it
using System;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Woodgrove.Signing
{
    public sealed class SignRequest
    {
        public byte[] Digest = new byte[64];
        public string KeyName;
        public Action<byte[]> Completed;
        public byte[] Document;
    }

    public static class NativeSigner
    {
        private static int failures;

        public static int Failures => failures;

        public static void Sign(SignRequest request)
        {
            IntPtr context = GCHandle.ToIntPtr(GCHandle.Alloc(request));
            if (Start(context, request.KeyName) != 0)
            {
                failures++;
                return;
            }

            OnCompleted(context);
        }

        private static int Start(IntPtr context, string key) => key.EndsWith("7") ? -1 : 0;

        private static void OnCompleted(IntPtr context)
        {
            var handle = GCHandle.FromIntPtr(context);
            var request = (SignRequest)handle.Target;
            handle.Free();
            request.Completed?.Invoke(request.Digest);
        }
    }

    public static class Program
    {
        public static void Main()
        {
            for (int i = 0; i < 150_000; i++)
            {
                NativeSigner.Sign(new SignRequest { KeyName = "key" + i, Document = new byte[3_000] });
            }

            new ConsoleHost(() => new Report().Add("failures", NativeSigner.Failures)).Run();
        }
    }
}
