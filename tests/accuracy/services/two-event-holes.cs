// Handlers that nobody takes off, and a large object heap of holes
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Pair2
{
    internal sealed class Model
    {
        public event EventHandler Changed;

        public void Touch() => Changed?.Invoke(this, EventArgs.Empty);
    }

    internal sealed class Panel
    {
        private readonly byte[] bitmap = new byte[8_000];

        public Panel(Model model)
        {
            model.Changed += (sender, args) => bitmap[0]++;
        }
    }

    internal static class Program
    {
        private static readonly Model Shared = new Model();
        private static readonly List<byte[]> Kept = new List<byte[]>();

        private static void Main()
        {
            for (int i = 0; i < 10_000; i++)
            {
                new Panel(Shared);
            }

            Render();
            Gauge.Collect();
            new ConsoleHost(() => new Report().Add("kept", Kept.Count)).Run();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Render()
        {
            var scratch = new List<byte[]>();
            for (int i = 0; i < 300; i++)
            {
                scratch.Add(new byte[600_000]);
                Kept.Add(new byte[90_000]);
            }
        }
    }
}
