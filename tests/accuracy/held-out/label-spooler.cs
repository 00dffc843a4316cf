// A print job travels through native code as a handle; cancelled jobs never reach the callback that frees it
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Shop.Hosting;

namespace Adatum.Labels
{
    internal enum SpoolResult { Printed = 0, Cancelled = 1 }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void SpoolDone(IntPtr context, SpoolResult result);

    /// <summary>Stands for the C library of the printer's vendor.</summary>
    internal sealed class VendorSpooler
    {
        private int submitted;

        public void Submit(IntPtr context, SpoolDone done)
        {
            // Two of three labels are withdrawn for a cheaper carrier, and the vendor calls nobody back then.
            if (submitted++ % 3 == 0)
            {
                done(context, SpoolResult.Printed);
            }
        }
    }

    internal class Label
    {
        public Label(string address) => Address = address;

        public string Address { get; }
    }

    internal sealed class ParcelLabel : Label
    {
        public ParcelLabel(string address, byte[] barcode) : base(address) => Barcode = barcode;

        public byte[] Barcode { get; }
    }

    internal sealed class PrintJob
    {
        public PrintJob(ParcelLabel label, int dots)
        {
            Label = label;
            Raster = new uint[dots];
            Raster.AsSpan().Fill((uint)label.Address.Length);
        }

        public ParcelLabel Label { get; }

        public uint[] Raster { get; }

        public SpoolResult? Result { get; set; }
    }

    internal sealed class Spooler
    {
        private readonly VendorSpooler vendor = new VendorSpooler();
        private readonly SpoolDone done;

        public Spooler() => done = OnDone;

        public long Printed { get; private set; }

        public long Submitted { get; private set; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Print(string address)
        {
            var label = new ParcelLabel(address, Guid.NewGuid().ToByteArray());
            var handle = GCHandle.Alloc(new PrintJob(label, 2_400));
            Submitted++;
            vendor.Submit(GCHandle.ToIntPtr(handle), done);
        }

        private void OnDone(IntPtr context, SpoolResult result)
        {
            var handle = GCHandle.FromIntPtr(context);
            ((PrintJob)handle.Target).Result = result;
            Printed++;
            handle.Free();
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var spooler = new Spooler();
            void Serve(long n)
            {
                for (long i = 0; i < n; i++) spooler.Print($"{spooler.Submitted} Harbour Road, Dock {i}");
            }

            Serve(9_000);
            new ConsoleHost(() => new Report()
                    .Add("submitted", spooler.Submitted)
                    .Add("never_freed", spooler.Submitted - spooler.Printed))
                .On("serve", Serve)
                .Run();
        }
    }
}
