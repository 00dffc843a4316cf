//! Captures of real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_collector::capture::{
    self, Cancel, CaptureError, CaptureMethod, Content, Job, Progress, Sink, snapshot::Snapshot,
    stream::StopAndStream,
};
use leakhound_collector::config::CaptureConfig;
use leakhound_collector::discover;
use leakhound_dump::MemoryExt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Every method that writes the core itself.
const METHODS: [&dyn CaptureMethod; 2] = [&StopAndStream, &Snapshot::NEW];

/// A plain file as a sink: zeros are holes.
struct Plain(File);

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
struct Target {
    child: Child,
    out: BufReader<ChildStdout>,
    block: u64,
    threads: usize,
}

/// 24 MiB filled with a pattern: every 8 bytes hold their own offset, but each third page stays untouched.
const BLOCK_BYTES: u64 = 24 << 20;

impl Target {
    fn start(extra_mib: usize) -> Self {
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

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails unless the target goes on counting.
    fn assert_runs(&mut self) {
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
}

impl Target {
    fn assert_has_no_children(&self) {
        assert_eq!(children(self.pid()), Vec::<u32>::new());
    }
}

/// Child processes of `pid`, zombies included.
fn children(pid: u32) -> Vec<u32> {
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

fn capture_to(
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

fn capture(
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

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_core_holds_the_bytes_the_threads_and_the_registers() {
    let mut target = Target::start(0);
    let folder = folder();
    let path = folder.path().join("core");
    let contents = [Content::Heap, Content::Full];
    for (method, content) in METHODS.iter().flat_map(|m| contents.map(|c| (*m, c))) {
        let captured = capture(method, target.pid(), content, &path).unwrap();
        target.assert_runs();
        assert!(captured.pause.unwrap() > Duration::ZERO);
        assert!(captured.warnings.is_empty(), "{:?}", captured.warnings);

        let image = leakhound_dump::open(leakhound_archive::open_readable(&path).unwrap()).unwrap();
        assert!(image.warnings.is_empty(), "{:?}", image.warnings);
        assert_eq!(image.pid, Some(target.pid()));
        assert_eq!(image.threads.len(), target.threads);
        for thread in &image.threads {
            assert_ne!((thread.ip, thread.sp), (0, 0), "thread {}", thread.os_id);
            assert!(
                thread
                    .name
                    .as_ref()
                    .is_some_and(|n| n.starts_with("python")),
                "{:?}",
                thread.name
            );
            let stack = image.memory.u64(thread.sp);
            assert!(
                stack.is_some(),
                "stack of thread {} is missing",
                thread.os_id
            );
        }
        for page in (0..BLOCK_BYTES).step_by(4096) {
            let expected = if page / 4096 % 3 == 0 { 0 } else { page + 8 };
            assert_eq!(
                image.memory.u64(target.block + page + 8),
                Some(expected),
                "page {page:#x}"
            );
        }
        let python = image
            .mapped_files
            .iter()
            .find(|f| f.path.to_string_lossy().contains("python"));
        let header = image.memory.u32(python.unwrap().start);
        assert_eq!(header, Some(u32::from_le_bytes(*b"\x7fELF")));
        assert!(!image.memory.regions().is_empty() && !image.modules.is_empty());
    }
}

#[test]
fn gdb_opens_the_core_and_sees_every_thread() {
    let target = Target::start(0);
    let folder = folder();
    let path = folder.path().join("core");
    for method in METHODS {
        capture(method, target.pid(), Content::Heap, &path).unwrap();
        assert_gdb_reads(&target, &path);
    }
}

fn assert_gdb_reads(target: &Target, path: &Path) {
    let exe = std::fs::read_link(format!("/proc/{}/exe", target.pid())).unwrap();
    let command = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "info threads",
            "-ex",
            "info registers rip",
        ])
        .args(["-ex", &format!("x/2gx {}", target.block + 4096)])
        .args(["-ex", "bt 3"])
        .arg(exe)
        .arg(path)
        .output();
    let Ok(output) = command else {
        panic!("gdb is not installed; this test needs it (apt-get install gdb)");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(text.matches("LWP").count() >= target.threads, "{text}");
    assert!(
        text.contains("0x0000000000001000\t0x0000000000001008"),
        "{text}"
    );
    assert!(text.contains("#0 ") && text.contains("rip "), "{text}");
    assert!(
        !text.contains("is not a core dump")
            && !text.contains("warning: Couldn't find general-purpose"),
        "{text}"
    );
}

/// Runs this test program again as a collector that captures into a pipe nobody empties, and kills it there.
#[test]
fn a_collector_that_is_killed_leaves_the_target_running() {
    let mut target = Target::start(8);
    let me = std::env::current_exe().unwrap();
    for _ in 0..5 {
        let mut collector = Command::new(&me)
            .args(["--ignored", "--exact", "as_a_collector", "--nocapture"])
            .env("LEAKHOUND_TEST_PID", target.pid().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let status =
            || std::fs::read_to_string(format!("/proc/{}/status", target.child.id())).unwrap();
        while status().contains("TracerPid:\t0\n") {
            assert!(Instant::now() < deadline, "the collector never attached");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(
            !status().contains("TracerPid:\t0\n"),
            "it should hang in the middle of writing"
        );
        collector.kill().unwrap();
        collector.wait().unwrap();
        target.assert_runs();
    }
}

/// Not a test of its own: the collector of the test above. It writes into its standard output until it is killed.
#[test]
#[ignore = "run by a_collector_that_is_killed_leaves_the_target_running"]
fn as_a_collector() {
    struct Out(io::Stdout);
    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    impl Sink for Out {
        fn zeros(&mut self, n: u64) -> io::Result<()> {
            io::copy(&mut io::repeat(0).take(n), &mut self.0).map(|_| ())
        }
    }
    let Ok(pid) = std::env::var("LEAKHOUND_TEST_PID") else {
        return;
    };
    let target = discover::one(pid.parse().unwrap()).unwrap();
    let job = Job {
        target: &target,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    let _ = StopAndStream.capture(&job, &mut Out(io::stdout()), &mut |_| {});
}

#[test]
fn a_target_that_dies_during_the_capture_gives_a_clear_error() {
    let mut target = Target::start(64);
    let folder = folder();
    let pid = target.pid();
    let mut killed = false;
    let result = capture_to(
        &StopAndStream,
        pid,
        Content::Heap,
        &folder.path().join("core"),
        &CaptureConfig::default(),
        &Cancel::default(),
        &mut |p| {
            if p.done_bytes > 8 << 20 && !killed {
                killed = true;
                Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        },
    );
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Exited {
                when: "during the capture",
                ..
            }
        ),
        "{error}"
    );
    target.child.wait().unwrap();
}

#[test]
fn cancel_and_the_longest_pause_let_the_target_go_at_once() {
    let mut target = Target::start(32);
    let folder = folder();
    let path = folder.path().join("core");
    for method in METHODS {
        let cancel = Cancel::default();
        let asked = cancel.clone();
        let result = capture_to(
            method,
            target.pid(),
            Content::Heap,
            &path,
            &CaptureConfig::default(),
            &cancel,
            &mut |p| {
                if p.done_bytes > 1 << 20 {
                    asked.cancel();
                }
            },
        );
        assert!(
            matches!(result, Err(CaptureError::Cancelled { .. })),
            "{result:?}"
        );
        target.assert_runs();
        target.assert_has_no_children();
    }

    let mut config = CaptureConfig::default();
    config.max_pause.0 = Duration::from_millis(1);
    let result = capture_to(
        &StopAndStream,
        target.pid(),
        Content::Heap,
        &path,
        &config,
        &Cancel::default(),
        &mut |_| {},
    );
    assert!(
        matches!(result, Err(CaptureError::PauseExceeded { limit_ms: 1, .. })),
        "{result:?}"
    );
    target.assert_runs();
}

#[test]
fn a_panic_in_the_middle_lets_the_target_go() {
    let mut target = Target::start(8);
    let folder = folder();
    for method in METHODS {
        let result = capture_to(
            method,
            target.pid(),
            Content::Heap,
            &folder.path().join("core"),
            &CaptureConfig::default(),
            &Cancel::default(),
            &mut |p| assert!(p.done_bytes < 4 << 20, "planned panic"),
        );
        assert!(result.unwrap_err().to_string().contains("panicked"));
        target.assert_runs();
        target.assert_has_no_children();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_target_goes_on() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(io::Error::from_raw_os_error(libc_enospc()));
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Sink for Full {
        fn zeros(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    const fn libc_enospc() -> i32 {
        28
    }
    let mut target = Target::start(8);
    let who = discover::one(target.pid()).unwrap();
    let job = Job {
        target: &who,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    for method in METHODS {
        let error = method
            .capture(&job, &mut Full(4 << 20), &mut |_| {})
            .unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        target.assert_runs();
        target.assert_has_no_children();
    }
}

#[test]
fn signals_on_their_way_are_delivered_and_a_stopped_process_stays_stopped() {
    let folder = folder();
    let path = folder.path().join("core");
    let program = "import signal, time, sys\nn=0\ndef h(*a):\n    global n\n    n+=1\n\
        signal.signal(signal.SIGUSR1, h)\nprint('up', flush=True)\nend=time.time()+3\n\
        while time.time()<end: time.sleep(0.01)\nprint(n, flush=True)";
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let pid = child.id();
    let mut sent = 0;
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        Command::new("kill")
            .args(["-USR1", &pid.to_string()])
            .status()
            .unwrap();
        let method = METHODS[sent as usize % 2];
        sent += 1;
        capture(method, pid, Content::Heap, &path).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line.trim().parse::<i32>().unwrap(), sent);
    child.wait().unwrap();

    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleeper.id().to_string();
    // Before its loader has run a process has no C library, and no snapshot can be had.
    let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let maps = || std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while !(status().contains("State:\tS") && maps().contains("libc")) {
        assert!(Instant::now() < patience, "{}", status());
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    for method in METHODS {
        capture(method, sleeper.id(), Content::Heap, &path).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(status().contains("State:\tT"), "{}", status());
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_traced_process_and_a_dead_one_are_told_apart() {
    let folder = folder();
    let path = folder.path().join("core");
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let mut gdb = Command::new("gdb")
        .args(["-nx", "-q", "-p", &child.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gdb is needed by this test (apt-get install gdb)");
    let status = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    while status().contains("TracerPid:\t0\n") {
        std::thread::sleep(Duration::from_millis(20));
    }
    for method in METHODS {
        let error = capture(method, child.id(), Content::Heap, &path)
            .unwrap_err()
            .to_string();
        assert!(error.contains("is traced by process"), "{error}");
    }
    gdb.kill().unwrap();
    gdb.wait().unwrap();

    let mut who = discover::one(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let (config, cancel) = (CaptureConfig::default(), Cancel::default());
    let mut sink = Plain(File::create(&path).unwrap());
    let mut refused = |who: &leakhound_collector::identity::Identity| {
        let job = Job {
            target: who,
            content: Content::Heap,
            config: &config,
            cancel: &cancel,
        };
        let [first, second] = METHODS.map(|m| m.capture(&job, &mut sink, &mut |_| {}).unwrap_err());
        assert_eq!(first.to_string(), second.to_string());
        first
    };
    let error = refused(&who);
    assert!(matches!(error, CaptureError::Exited { .. }), "{error}");
    // The id lives, but it is another process now.
    who.pid = std::process::id();
    who.start_ticks += 1;
    let error = refused(&who);
    assert!(matches!(error, CaptureError::Exited { .. }), "{error}");
    assert_eq!(PathBuf::from(&path).metadata().unwrap().len(), 0);
}

#[test]
fn sealed_cores_open_too_and_are_standard_zstd() {
    let target = Target::start(4);
    let folder = folder();
    let path = folder.path().join("memory.core.zst");
    let who = discover::one(target.pid()).unwrap();
    let job = Job {
        target: &who,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    for method in METHODS {
        let file = File::create(&path).unwrap();
        let options = leakhound_archive::SealOptions::default();
        let mut seal = leakhound_archive::SealWriter::new(file, &options).unwrap();
        method.capture(&job, &mut seal, &mut |_| {}).unwrap();
        let sealed = seal.finish().unwrap();
        assert!(sealed.stored_bytes < sealed.raw_bytes / 2);
        let image = leakhound_dump::open(Arc::clone(
            &leakhound_archive::open_readable(&path).unwrap(),
        ))
        .unwrap();
        assert_eq!(image.memory.u64(target.block + 4096), Some(4096));
    }
}
