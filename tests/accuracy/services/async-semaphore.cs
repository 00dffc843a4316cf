// Uploads queue at a semaphore whose holder never lets go
using System;
using System.Threading;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Uploads
{
    internal sealed class Uploader
    {
        private static readonly SemaphoreSlim Slots = new SemaphoreSlim(1);

        public async Task Upload(byte[] content)
        {
            await Slots.WaitAsync();
            try
            {
                await Task.Delay(TimeSpan.FromDays(10));
            }
            finally
            {
                Slots.Release();
            }

            content[0]++;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var uploader = new Uploader();
            for (int i = 0; i < 16_000; i++)
            {
                _ = uploader.Upload(new byte[3_500]);
            }

            new ConsoleHost(() => new Report().Add("uploads", 16_000)).Run();
        }
    }
}
