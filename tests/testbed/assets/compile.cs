// The C# compiler's command line over Roslyn's libraries: every argument is a response file with one compilation.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Emit;
using Microsoft.CodeAnalysis.Text;

namespace Leakhound.Testbed
{
    internal static class CompileProgram
    {
        // References are the same for most compilations of a batch and costly to read.
        private static readonly Dictionary<string, MetadataReference> References = new Dictionary<string, MetadataReference>();

        private static int Main(string[] responseFiles)
        {
            int failed = responseFiles.Count(file => !Compile(file));
            return failed == 0 ? 0 : 1;
        }

        private static bool Compile(string responseFile)
        {
            var arguments = CSharpCommandLineParser.Default.Parse(
                new[] { "-noconfig", "@" + responseFile }, Directory.GetCurrentDirectory(), sdkDirectory: null);
            if (!Report(responseFile, arguments.Errors))
            {
                return false;
            }

            // Only the file name: output must not depend on where the sources lie.
            var trees = arguments.SourceFiles.Select(source => CSharpSyntaxTree.ParseText(
                SourceText.From(File.ReadAllText(source.Path), Encoding.UTF8),
                arguments.ParseOptions,
                Path.GetFileName(source.Path)));
            var compilation = CSharpCompilation.Create(
                Path.GetFileNameWithoutExtension(arguments.OutputFileName),
                trees,
                arguments.MetadataReferences.Select(reference => Reference(reference.Reference)),
                arguments.CompilationOptions);
            using (var image = new MemoryStream())
            {
                EmitResult result = compilation.Emit(image, options: arguments.EmitOptions);
                if (!Report(responseFile, result.Diagnostics) || !result.Success)
                {
                    return false;
                }

                File.WriteAllBytes(Path.Combine(arguments.OutputDirectory, arguments.OutputFileName), image.ToArray());
            }

            return true;
        }

        private static MetadataReference Reference(string path)
        {
            if (!References.TryGetValue(path, out MetadataReference reference))
            {
                reference = MetadataReference.CreateFromFile(path);
                References.Add(path, reference);
            }

            return reference;
        }

        private static bool Report(string responseFile, IEnumerable<Diagnostic> diagnostics)
        {
            bool good = true;
            foreach (Diagnostic diagnostic in diagnostics.Where(d => d.Severity >= DiagnosticSeverity.Warning))
            {
                Console.Error.WriteLine(Path.GetFileNameWithoutExtension(responseFile) + ": " + diagnostic);
                good &= diagnostic.Severity != DiagnosticSeverity.Error;
            }

            return good;
        }
    }
}
