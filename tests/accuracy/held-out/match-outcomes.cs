// Matches end in an outcome, a struct of value or exception, and the outcomes of all matches are kept for a chart
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Tailspin.Arena
{
    internal readonly struct Outcome<T>
    {
        private readonly T value;
        private readonly Exception failure;

        private Outcome(T value, Exception failure)
        {
            this.value = value;
            this.failure = failure;
        }

        public bool Failed => failure != null;

        public static Outcome<T> Try(Func<T> attempt)
        {
            try
            {
                return new Outcome<T>(attempt(), null);
            }
            catch (Exception failure)
            {
                return new Outcome<T>(default, failure);
            }
        }

        public TResult Match<TResult>(Func<T, TResult> done, Func<Exception, TResult> failed) =>
            Failed ? failed(failure) : done(value);
    }

    internal sealed class DesyncException : Exception
    {
        public DesyncException(int tick, byte[] world, Exception inner)
            : base("peers disagree at tick " + tick, inner)
        {
            World = world;
        }

        public byte[] World { get; }
    }

    internal readonly struct Score
    {
        public Score(int red, int blue)
        {
            Red = red;
            Blue = blue;
        }

        public int Red { get; }

        public int Blue { get; }
    }

    internal sealed class Match
    {
        private readonly Random random;

        public Match(int seed) => random = new Random(seed);

        public Score Play()
        {
            for (int tick = 0; tick < 5; tick++)
            {
                try
                {
                    Simulate(tick);
                }
                catch (InvalidOperationException mismatch)
                {
                    var world = new byte[3_000];
                    random.NextBytes(world);
                    throw new DesyncException(tick, world, mismatch);
                }
            }

            return new Score(random.Next(30), random.Next(30));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private void Simulate(int tick)
        {
            int ours = random.Next(6);
            if (ours == 0)
            {
                throw new InvalidOperationException($"checksum {random.Next():x8} is not {ours + tick:x8}");
            }
        }
    }

    /// <summary>The success rate of everything since the season began.</summary>
    internal sealed class SeasonChart
    {
        private readonly LinkedList<(DateTime Ended, Outcome<Score> Outcome)> ended =
            new LinkedList<(DateTime, Outcome<Score>)>();

        public int Matches => ended.Count;

        public int Failures { get; private set; }

        public void Add(in Outcome<Score> outcome)
        {
            ended.AddLast((DateTime.UtcNow, outcome));
            Failures += outcome.Match(_ => 0, _ => 1);
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var chart = new SeasonChart();
            int seed = 0;
            void Serve(long n)
            {
                for (long i = 0; i < n; i++) chart.Add(Outcome<Score>.Try(new Match(++seed).Play));
            }

            Serve(16_000);
            new ConsoleHost(() => new Report().Add("matches", chart.Matches).Add("failures", chart.Failures))
                .On("serve", Serve)
                .Run();
        }
    }
}
