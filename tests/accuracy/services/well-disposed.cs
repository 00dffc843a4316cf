// Objects with finalizers are made in numbers and disposed
using System;
using Shop.Hosting;

namespace Acme.Well15
{
    internal sealed class Lease : IDisposable
    {
        private readonly byte[] page = new byte[2_000];

        ~Lease() => page[0] = 0;

        public void Dispose()
        {
            page[0] = 1;
            GC.SuppressFinalize(this);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            long disposed = 0;
            for (int i = 0; i < 150_000; i++, disposed++)
            {
                using (new Lease())
                {
                }
            }

            new ConsoleHost(() => new Report().Add("disposed", disposed)).Run();
        }
    }
}
