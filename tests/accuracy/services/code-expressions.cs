// A filter is compiled anew for every query and kept
using System;
using System.Collections.Generic;
using System.Linq.Expressions;
using Shop.Hosting;

namespace Acme.Filters
{
    internal static class Program
    {
        private static void Main()
        {
            var filters = new List<Func<int, bool>>();
            for (int i = 0; i < 6_000; i++)
            {
                var parameter = Expression.Parameter(typeof(int));
                var body = Expression.GreaterThan(parameter, Expression.Constant(i));
                filters.Add(Expression.Lambda<Func<int, bool>>(body, parameter).Compile());
            }

            new ConsoleHost(() => new Report().Add("filters", filters.Count)).Run();
            GC.KeepAlive(filters);
        }
    }
}
