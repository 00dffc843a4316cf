// A thread for each picking job waits for the scanner to confirm; jobs that the foreman took off the list are never confirmed
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using Shop.Hosting;

namespace Northdock.Picking
{
    public class PickLine
    {
        public string Shelf;
        public int Pieces;
    }

    public class PickJob
    {
        private readonly ManualResetEventSlim confirmed = new ManualResetEventSlim();
        private readonly List<PickLine> lines;

        public PickJob(int order)
        {
            Order = order;
            lines = Enumerable.Range(0, 600)
                .Select(i => new PickLine { Shelf = $"{(char)('A' + i % 26)}{order % 90:00}-{i:000}", Pieces = 1 + i % 4 })
                .ToList();
        }

        public int Order { get; }

        public int Pieces => lines.Sum(line => line.Pieces);

        public void Confirm() => confirmed.Set();

        public void Await()
        {
            confirmed.Wait();
            Console.Error.WriteLine($"order {Order}: {Pieces} pieces picked");
        }
    }

    public class Foreman
    {
        private readonly Dictionary<int, PickJob> open = new Dictionary<int, PickJob>();

        public int Open => open.Count;

        public int Started { get; private set; }

        public void Start(int order)
        {
            var job = new PickJob(order);
            open.Add(order, job);
            new Thread(job.Await, 256 * 1024) { IsBackground = true, Name = "pick " + order }.Start();
            Started++;
        }

        public void Cancel(int order)
        {
            open.Remove(order);
        }
    }

    public static class Program
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void MorningShift(Foreman foreman)
        {
            for (int order = 1; order <= 700; order++)
            {
                foreman.Start(order);
                if (order > 5)
                {
                    foreman.Cancel(order - 5);
                }
            }
        }

        public static void Main()
        {
            var foreman = new Foreman();
            MorningShift(foreman);
            new ConsoleHost(() => new Report().Add("started", foreman.Started).Add("open", foreman.Open)).Run();
        }
    }
}
