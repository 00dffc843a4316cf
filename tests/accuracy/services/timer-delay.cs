// Every reminder waits a month in a Task.Delay
using System;
using System.Threading.Tasks;
using Shop.Hosting;

namespace Acme.Reminders
{
    internal sealed class Reminder
    {
        public string Text;
        public byte[] Attachment = new byte[1_500];

        public async Task Wait()
        {
            await Task.Delay(TimeSpan.FromDays(20));
            Attachment[0]++;
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 30_000; i++)
            {
                _ = new Reminder { Text = "reminder " + i }.Wait();
            }

            new ConsoleHost(() => new Report().Add("reminders", 30_000)).Run();
        }
    }
}
