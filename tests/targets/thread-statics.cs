// Every worker has a scratch buffer of its own in a thread-static field, and the workers never end.
using System;
using System.Threading;
using Shop.Hosting;

namespace Shop.Rendering
{
    internal static class Scratch
    {
        [ThreadStatic]
        public static byte[] Buffer;
    }

    internal static class Program
    {
        private const int Workers = 60;
        private const int BufferBytes = 4_000_000;

        private static void Main()
        {
            using (var ready = new CountdownEvent(Workers))
            {
                for (int i = 0; i < Workers; i++)
                {
                    new Thread(() => Work(ready), 256 * 1024) { IsBackground = true }.Start();
                }

                ready.Wait();
            }

            new ConsoleHost(() => new Report().Add("workers", Workers)).Run();
        }

        private static void Work(CountdownEvent ready)
        {
            Scratch.Buffer = new byte[BufferBytes];
            for (int i = 0; i < BufferBytes; i += 4_096)
            {
                Scratch.Buffer[i] = 1;
            }

            ready.Signal();
            Thread.Sleep(Timeout.Infinite);
        }
    }
}
