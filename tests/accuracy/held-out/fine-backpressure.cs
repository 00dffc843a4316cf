// A pipeline that is always full: sources wait until the slow end has room
using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Humongous.Telemetry
{
    internal sealed class Frame
    {
        public Frame(int source, float[] values)
        {
            Source = source;
            Values = values;
        }

        public int Source { get; }

        public float[] Values { get; }
    }

    internal sealed class Summary
    {
        public int Source;
        public float Lowest;
        public float Highest;
        public float[] Thinned;
    }

    internal static class Pipe
    {
        /// <summary>One bounded step with some workers.</summary>
        public static ChannelReader<TOut> Then<TIn, TOut>(
            this ChannelReader<TIn> input, int capacity, int workers, Func<TIn, Task<TOut>> work)
        {
            Channel<TOut> output = Channel.CreateBounded<TOut>(capacity);
            for (int i = 0; i < workers; i++) _ = Pump(input, output.Writer, work);
            return output.Reader;
        }

        private static async Task Pump<TIn, TOut>(
            ChannelReader<TIn> input, ChannelWriter<TOut> output, Func<TIn, Task<TOut>> work)
        {
            while (await input.WaitToReadAsync().ConfigureAwait(false))
            {
                while (input.TryRead(out TIn item))
                {
                    TOut result = await work(item).ConfigureAwait(false);
                    await output.WriteAsync(result).ConfigureAwait(false);
                }
            }
        }
    }

    internal sealed class Sources
    {
        private readonly Channel<Frame> frames = Channel.CreateBounded<Frame>(256);
        private long produced;

        public ChannelReader<Frame> Frames => frames.Reader;

        public long Produced => Interlocked.Read(ref produced);

        public void Start(int count)
        {
            foreach (int source in Enumerable.Range(0, count)) _ = Task.Run(() => ProduceAsync(source));
        }

        private async Task ProduceAsync(int source)
        {
            var random = new Random(source);
            for (int n = 0; ; n++)
            {
                var values = new float[12_000];
                values[n % values.Length] = (float)random.NextDouble();
                await frames.Writer.WriteAsync(new Frame(source, values)).ConfigureAwait(false);
                Interlocked.Increment(ref produced);
            }
        }
    }

    internal static class Program
    {
        private static long stored;

        private static async Task Main()
        {
            var sources = new Sources();
            ChannelReader<Summary> summaries = sources.Frames
                .Then(64, 4, frame => Task.FromResult(new Summary
                {
                    Source = frame.Source,
                    Lowest = frame.Values.Min(),
                    Highest = frame.Values.Max(),
                    Thinned = frame.Values.Where((_, i) => i % 4 == 0).ToArray(),
                }));
            ChannelReader<IReadOnlyList<float>> batches = summaries
                .Then<Summary, IReadOnlyList<float>>(64, 2, async summary =>
                {
                    await Task.Delay(12).ConfigureAwait(false);
                    return summary.Thinned;
                });
            _ = Task.Run(async () =>
            {
                await foreach (IReadOnlyList<float> batch in batches.ReadAllAsync())
                {
                    Interlocked.Add(ref stored, batch.Count);
                }
            });
            sources.Start(60);
            await Task.Delay(1_200);
            new ConsoleHost(() => new Report()
                    .Add("produced", sources.Produced)
                    .Add("stored", Interlocked.Read(ref stored)))
                .On("wait", ms => Thread.Sleep((int)ms))
                .Run();
        }
    }
}
