// Every report opens its template and leaves it open
using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using Shop.Hosting;

namespace Acme.Templates
{
    internal static class Templates
    {
        private static readonly List<FileStream> Opened = new List<FileStream>();

        public static int Count => Opened.Count;

        public static void Open(int count)
        {
            string path = typeof(Templates).Assembly.Location;
            for (int i = 0; i < count; i++)
            {
                Opened.Add(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read));
            }
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            Templates.Open(900);
            new ConsoleHost(() => new Report().Add("files", Templates.Count)).Run();
        }
    }
}
