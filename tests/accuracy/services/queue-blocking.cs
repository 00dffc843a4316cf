// The consumer of a BlockingCollection is stuck
using System;
using System.Collections.Concurrent;
using System.Threading;
using Shop.Hosting;

namespace Acme.Printing
{
    internal sealed class Page
    {
        public int Number;
        public char[] Text = new char[1_000];
    }

    internal sealed class Printer
    {
        private readonly BlockingCollection<Page> pages = new BlockingCollection<Page>();
        private readonly ManualResetEvent paper = new ManualResetEvent(false);

        public int Waiting => pages.Count;

        public void Start() => new Thread(Print) { IsBackground = true, Name = "printer" }.Start();

        public void Add(Page page) => pages.Add(page);

        private void Print()
        {
            foreach (Page page in pages.GetConsumingEnumerable())
            {
                paper.WaitOne();
                GC.KeepAlive(page);
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var printer = new Printer();
            printer.Start();
            for (int i = 0; i < 45_000; i++)
            {
                printer.Add(new Page { Number = i });
            }

            new ConsoleHost(() => new Report().Add("pages", printer.Waiting)).Run();
            GC.KeepAlive(printer);
        }
    }
}
