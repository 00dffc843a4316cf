//! A process to capture, and how it is captured.

use leakhound_collector::capture::{
    self, Cancel, CaptureError, CaptureMethod, Content, Job, Progress, Sink, snapshot::Snapshot,
    stream::StopAndStream,
};
use leakhound_collector::config::CaptureConfig;
use leakhound_collector::discover;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Every method that writes the core itself.
pub const METHODS: [&dyn CaptureMethod; 2] = [&StopAndStream, &Snapshot::NEW];

/// A plain file as a sink: zeros are holes.
pub struct Plain(pub File);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Plain {
    fn zeros(&mut self, n: u64) -> io::Result<()> {
        io::Seek::seek_relative(&mut self.0, n as i64)
    }
}

/// A process with threads, a known block of memory, and a counter that it prints while it runs.
pub struct Target {
    pub child: Child,
    pub out: BufReader<ChildStdout>,
    pub block: u64,
    pub threads: usize,
}

/// 24 MiB filled with a pattern: every 8 bytes hold their own offset, but each third page stays untouched.
pub const BLOCK_BYTES: u64 = 24 << 20;

impl Target {
    pub fn start(extra_mib: usize) -> Self {
        let program = format!(
            r#"
import ctypes, mmap, struct, sys, threading, time
size = {BLOCK_BYTES}
m = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size, 4096):
    if page // 4096 % 3:
        m[page:page + 4096] = struct.pack('<512Q', *range(page, page + 4096, 8))
address = ctypes.addressof(ctypes.c_char.from_buffer(m))
import os
extra = [os.urandom(1 << 20) for _ in range({extra_mib})]
for _ in range(7):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(address, flush=True)
n = 0
while True:
    n += 1
    print(n, flush=True)
    time.sleep(0.01)
"#
        );
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        Self {
            child,
            out,
            block: line.trim().parse().unwrap(),
            threads: 8,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails unless the target goes on counting.
    pub fn assert_runs(&mut self) {
        let (sender, receiver) = std::sync::mpsc::channel();
        // What was printed before is in the pipe; a stopped target ends the supply within 64 KiB.
        std::thread::scope(|scope| {
            let out = &mut self.out;
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(400) {
                    if out.read(&mut buffer).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = sender.send(());
            });
            let runs = receiver.recv_timeout(Duration::from_secs(10)).is_ok();
            let state = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            assert!(runs, "the target stands still: {state:?}");
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        assert!(status.contains("TracerPid:\t0\n"), "still traced");
    }

    pub fn assert_has_no_children(&self) {
        assert_eq!(children(self.pid()), Vec::<u32>::new());
    }
}

/// Child processes of `pid`, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("children")).ok());
    lists
        .flat_map(|l| {
            l.split_ascii_whitespace()
                .map(|c| c.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn capture_to(
    method: &dyn CaptureMethod,
    pid: u32,
    content: Content,
    path: &Path,
    config: &CaptureConfig,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<capture::Captured, CaptureError> {
    let target = discover::one(pid).unwrap();
    let job = Job {
        target: &target,
        content,
        config,
        cancel,
    };
    let file = File::create(path).unwrap();
    let mut sink = Plain(file);
    let result = method.capture(&job, &mut sink, progress);
    let end = io::Seek::stream_position(&mut sink.0).unwrap();
    sink.0.set_len(end).unwrap();
    result
}

pub fn capture(
    method: &dyn CaptureMethod,
    pid: u32,
    content: Content,
    path: &Path,
) -> Result<capture::Captured, CaptureError> {
    capture_to(
        method,
        pid,
        content,
        path,
        &CaptureConfig::default(),
        &Cancel::default(),
        &mut |_| {},
    )
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
