// Views watch a shared settings object through PropertyChanged with lambdas
using System;
using System.ComponentModel;
using Shop.Hosting;

namespace Acme.Desk
{
    internal sealed class Settings : INotifyPropertyChanged
    {
        public static readonly Settings Current = new Settings();

        public event PropertyChangedEventHandler PropertyChanged;

        public void Touch() => PropertyChanged?.Invoke(this, new PropertyChangedEventArgs("Theme"));
    }

    internal sealed class View
    {
        public char[] Text = new char[1_000];
    }

    internal static class Program
    {
        private static void Main()
        {
            for (int i = 0; i < 10_000; i++)
            {
                Open(new View());
            }

            Settings.Current.Touch();
            new ConsoleHost(() => new Report().Add("views", 10_000)).Run();
        }

        private static void Open(View view)
        {
            Settings.Current.PropertyChanged += (sender, args) => view.Text[0] = args.PropertyName[0];
        }
    }
}
