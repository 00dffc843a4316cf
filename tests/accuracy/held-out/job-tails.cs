// Each build job starts a thread that tails its log, and the thread waits for lines after the job is over
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using Shop.Hosting;

namespace Wingtip.Runner
{
    internal enum JobState { Queued, Running, Passed, Failed }

    internal interface ILogSink
    {
        void Line(string text);
    }

    internal sealed class LogTail : ILogSink
    {
        private readonly BlockingCollection<string> lines = new BlockingCollection<string>(256);
        private readonly int job;
        private long shipped;

        public LogTail(int job)
        {
            this.job = job;
            new Thread(Ship) { IsBackground = true, Name = "LogTail " + job }.Start();
        }

        public void Line(string text) => lines.Add(text);

        /// <summary>Only a job that passes says that there are no more lines.</summary>
        public void Close() => lines.CompleteAdding();

        private void Ship()
        {
            var batch = new StringBuilder(16 * 1024);
            foreach (string line in lines.GetConsumingEnumerable())
            {
                batch.Append(job).Append('|').Append(line).Append('\n');
                if (batch.Length > 14_000)
                {
                    shipped += batch.Length;
                    batch.Clear();
                }
            }

            shipped += batch.Length;
        }
    }

    internal sealed class Job
    {
        private readonly Queue<Func<ILogSink, bool>> steps;

        public Job(int id, IEnumerable<Func<ILogSink, bool>> steps)
        {
            Id = id;
            this.steps = new Queue<Func<ILogSink, bool>>(steps);
        }

        public int Id { get; }

        public JobState State { get; private set; }

        public JobState Run()
        {
            var tail = new LogTail(Id);
            State = JobState.Running;
            while (steps.Count > 0)
            {
                if (!steps.Dequeue()(tail))
                {
                    return State = JobState.Failed;
                }
            }

            tail.Close();
            return State = JobState.Passed;
        }
    }

    internal sealed class Runner
    {
        private readonly Dictionary<JobState, int> outcomes = new Dictionary<JobState, int>();
        private int jobs;

        public int Count(JobState state) => outcomes.TryGetValue(state, out int n) ? n : 0;

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(long count)
        {
            for (long i = 0; i < count; i++)
            {
                int id = ++jobs;
                JobState state = new Job(id, new Func<ILogSink, bool>[]
                {
                    log => { log.Line("clone"); return true; },
                    log => { for (int n = 0; n < 30; n++) log.Line("compile unit " + n); return true; },
                    log => { log.Line("test"); return id % 3 != 0; },
                    log => { log.Line("publish"); return true; },
                }).Run();
                outcomes[state] = Count(state) + 1;
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            var runner = new Runner();
            runner.Run(1_200);
            new ConsoleHost(() => new Report()
                    .Add("passed", runner.Count(JobState.Passed))
                    .Add("failed", runner.Count(JobState.Failed)))
                .On("serve", runner.Run)
                .Run();
        }
    }
}
