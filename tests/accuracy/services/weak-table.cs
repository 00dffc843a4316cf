// A ConditionalWeakTable attaches data to objects that never die
using System;
using System.Runtime.CompilerServices;
using Shop.Hosting;

namespace Acme.Tags
{
    internal sealed class Tag
    {
        public long A;
        public string Note;
    }

    internal sealed class Article
    {
        public int Id;
    }

    internal static class Tags
    {
        private static readonly ConditionalWeakTable<Article, Tag> Table = new ConditionalWeakTable<Article, Tag>();

        public static void Add(Article article) => Table.Add(article, new Tag { Note = "tag " + article.Id });
    }

    internal static class Program
    {
        private static void Main()
        {
            var articles = new Article[160_000];
            for (int i = 0; i < articles.Length; i++)
            {
                articles[i] = new Article { Id = i };
                Tags.Add(articles[i]);
            }

            new ConsoleHost(() => new Report().Add("articles", articles.Length)).Run();
            GC.KeepAlive(articles);
        }
    }
}
