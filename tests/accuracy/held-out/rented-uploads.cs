// Uploads that the client broke off keep the buffers that were rented for them
using System;
using System.Buffers;
using System.Collections.Generic;
using System.IO;
using Shop.Hosting;

namespace Woodgrove.Files
{
    public enum UploadState { Receiving, Completed, Aborted }

    public sealed class Upload
    {
        public Guid Id { get; } = Guid.NewGuid();
        public string FileName { get; set; }
        public UploadState State { get; set; }
        public byte[] Chunk { get; set; }
        public int Received { get; set; }
    }

    public sealed class UploadManager
    {
        private readonly Dictionary<Guid, Upload> uploads = new Dictionary<Guid, Upload>();

        public int Open => uploads.Count;

        public Upload Begin(string fileName)
        {
            var upload = new Upload { FileName = fileName, Chunk = ArrayPool<byte>.Shared.Rent(600_000) };
            uploads.Add(upload.Id, upload);
            return upload;
        }

        public void Complete(Upload upload)
        {
            upload.State = UploadState.Completed;
            ArrayPool<byte>.Shared.Return(upload.Chunk);
            uploads.Remove(upload.Id);
        }

        public void Abort(Upload upload) => upload.State = UploadState.Aborted;
    }

    static class Program
    {
        static void Main()
        {
            var manager = new UploadManager();
            var random = new Random(3);
            for (var i = 0; i < 1_200; i++)
            {
                var upload = manager.Begin($"scan{i:D5}.tif");
                using (var stream = new MemoryStream(upload.Chunk))
                {
                    for (var at = 0; at < 40_000; at += 4_000)
                    {
                        stream.Write(new byte[4_000], 0, 4_000);
                    }
                }

                if (random.Next(4) == 0)
                {
                    manager.Abort(upload);
                }
                else
                {
                    manager.Complete(upload);
                }
            }

            new ConsoleHost(() => new Report().Add("open", manager.Open)).Run();
            GC.KeepAlive(manager);
        }
    }
}
