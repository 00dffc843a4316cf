//! Snapshots under hard conditions: the collector killed at every step, filters, vfork, thousands of threads and mappings.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

use leakhound_collector::capture::snapshot::{Snapshot, Stage, reap};
use leakhound_collector::capture::{
    Cancel, CaptureError, CaptureMethod, Captured, Content, Job, Sink,
};
use leakhound_collector::config::{CaptureConfig, Kind, Reserve};
use leakhound_collector::{discover, seal};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts bytes and keeps none.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nowhere {
    fn zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn snapshot_with(method: Snapshot, pid: u32) -> Result<Captured, CaptureError> {
    let target = discover::one(pid).unwrap();
    let job = Job {
        target: &target,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    method.capture(&job, &mut Nowhere, &mut |_| {})
}

fn snapshot(pid: u32) -> Result<Captured, CaptureError> {
    snapshot_with(Snapshot::NEW, pid)
}

/// A program that prints lines.
struct Target {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Target {
    fn python(program: &str) -> Self {
        Self::start(Command::new("python3").args(["-c", program]))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, out };
        assert_eq!(this.line(), "up");
        this
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line comes: the program is alive and runs.
    fn assert_runs(&mut self) {
        assert_ne!(self.line(), "", "the target ended");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        assert!(status.contains("TracerPid:\t0\n"), "{status}");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Child processes of `pid` with their states.
fn children(pid: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("children")).ok());
    let ids: Vec<u32> = lists
        .flat_map(|l| {
            l.split_ascii_whitespace()
                .map(|c| c.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    let state = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("State:"));
        line.unwrap_or_default().to_owned()
    };
    ids.into_iter().map(|c| (c, state(c))).collect()
}

/// Threads in calls that are started again, in calls with a time limit, and one that computes: whatever thread is
/// chosen, sums stay right and no sleep ends early.
const MIXED: &str = r"
import os, threading, time, select, math
def wait_for_ever(): threading.Event().wait()
def read_for_ever(): os.read(os.pipe()[0], 1)
def sleep_long():
    while True:
        begun = time.monotonic(); time.sleep(0.2)
        if time.monotonic() - begun < 0.2: print('short sleep', flush=True); os._exit(1)
def poll_long():
    r, w = os.pipe(); p = select.poll(); p.register(r)
    while True:
        begun = time.monotonic(); p.poll(200)
        if time.monotonic() - begun < 0.199: print('short poll', flush=True); os._exit(1)
for f in (wait_for_ever, read_for_ever, sleep_long, poll_long) * 2:
    threading.Thread(target=f, daemon=True).start()
print('up', flush=True)
right = None
while True:
    total = 0.0
    for i in range(20000): total += math.sqrt(i) * 1.000001
    if right is None: right = total
    if total != right: print('wrong sum', flush=True); os._exit(1)
    print('ok', flush=True)
";

const STAGES: &[Stage] = &[
    Stage::Stopped,
    Stage::FrameWritten,
    Stage::Armed,
    Stage::Masked,
    Stage::CallEntered,
    Stage::Cloned,
    Stage::CallReturned,
    Stage::Unmasked,
    Stage::Restored,
    Stage::Released,
    Stage::CopyGuarded,
    Stage::CopyReady,
    Stage::Writing,
    Stage::CopyKilled,
    Stage::ReapStopped,
];

fn drain(target: &mut Target, span: Duration) {
    let until = Instant::now() + span;
    while Instant::now() < until {
        assert_eq!(target.line(), "ok");
    }
}

/// Each step that involves an injected call comes twice in a snapshot: for the clone and for the wait.
#[test]
fn killed_at_any_step_the_collector_leaves_a_target_that_runs_and_nothing_behind() {
    let rounds: usize = std::env::var("LEAKHOUND_TEST_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let me = std::env::current_exe().unwrap();
    let single = "import time\nprint('up',flush=True)\nwhile True:\n print('ok',flush=True)\n time.sleep(0.01)";
    let spinning = "import math\nprint('up',flush=True)\nright=None\nwhile True:\n\
        \x20t=0.0\n for i in range(20000): t+=math.sqrt(i)\n right=right or t\n print('ok' if t==right else 'wrong',flush=True)";
    // A folder of its own: the snapshots of other tests would clean up in the middle of this one.
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    for program in [MIXED, single, spinning] {
        let mut target = Target::python(program);
        for round in 0..rounds {
            for (n, stage) in STAGES.iter().enumerate() {
                for occurrence in 1..=2 {
                    let status = Command::new(&me)
                        .args(["--ignored", "--exact", "as_a_doomed_collector"])
                        .env("RUNTIME_DIRECTORY", &run_folder)
                        .env("LEAKHOUND_TEST_PID", target.pid().to_string())
                        .env("LEAKHOUND_TEST_STAGE", n.to_string())
                        .env("LEAKHOUND_TEST_OCCURRENCE", occurrence.to_string())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status()
                        .unwrap();
                    let killed = !status.success();
                    assert!(
                        killed || occurrence == 2,
                        "{stage:?} was never reached in round {round}"
                    );
                    drain(&mut target, Duration::from_millis(5));
                    target.assert_runs();
                    for (child, state) in children(target.pid()) {
                        // Dying takes a moment; running is what it must never do.
                        assert!(
                            state.contains('Z') || wait_for_zombie(child),
                            "{stage:?}: {child} {state}"
                        );
                    }
                }
            }
        }
        let problems = reap::sweep(&run_folder);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(children(target.pid()), []);
        snapshot(target.pid()).unwrap();
        assert_eq!(children(target.pid()), []);
        drain(&mut target, Duration::from_millis(300));
    }
}

fn wait_for_zombie(pid: u32) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.is_empty() || status.contains("State:\tZ") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

static SEEN: AtomicUsize = AtomicUsize::new(0);

fn variable(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Not a test of its own: the collector of the test above.
#[test]
#[ignore = "run by killed_at_any_step_the_collector_leaves_a_target_that_runs_and_nothing_behind"]
fn as_a_doomed_collector() {
    let Some(pid) = variable("LEAKHOUND_TEST_PID") else {
        return;
    };
    let observe = |stage| {
        let doomed = variable("LEAKHOUND_TEST_STAGE").is_some_and(|n| STAGES[n] == stage);
        let occurrence = variable("LEAKHOUND_TEST_OCCURRENCE").unwrap_or(1);
        if doomed && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == occurrence {
            // SAFETY: ends this process; no memory is passed.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    };
    let _ = snapshot_with(Snapshot { observe }, pid as u32);
}

#[test]
fn a_hundred_snapshots_leave_nothing_behind() {
    let mut target = Target::python(MIXED);
    let fds = |pid: u32| {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    };
    let (files, tasks) = (fds(target.pid()), task_count(target.pid()));
    let mut pauses = Vec::new();
    for _ in 0..100 {
        let captured = snapshot(target.pid()).unwrap();
        assert!(captured.warnings.is_empty(), "{:?}", captured.warnings);
        pauses.push(captured.pause.unwrap());
        assert_eq!(children(target.pid()), []);
        drain(&mut target, Duration::from_millis(1));
    }
    assert_eq!(
        (fds(target.pid()), task_count(target.pid())),
        (files, tasks)
    );
    pauses.sort();
    println!("pauses: median {:?}, longest {:?}", pauses[50], pauses[99]);
}

fn task_count(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .count()
}

#[test]
fn two_thousand_threads_and_ten_thousand_mappings() {
    let many = "import threading,time\nthreading.stack_size(65536)\n\
        for _ in range(2000): threading.Thread(target=threading.Event().wait,daemon=True).start()\n\
        print('up',flush=True)\nwhile True:\n print('ok',flush=True)\n time.sleep(0.01)";
    let mut target = Target::python(many);
    let captured = snapshot(target.pid()).unwrap();
    println!("2,000 threads: {:?}", captured.pause.unwrap());
    target.assert_runs();
    assert_eq!(children(target.pid()), []);

    // Every second page has other rights, so that none can be joined.
    let mapped = "import mmap,time\nkeep=[]\n\
        for n in range(5000):\n m=mmap.mmap(-1,8192,prot=mmap.PROT_READ|mmap.PROT_WRITE,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS)\n\
        \x20m[0]=1\n keep.append(m)\n keep.append(mmap.mmap(-1,4096,prot=mmap.PROT_READ,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS))\n\
        print('up',flush=True)\nwhile True:\n print('ok',flush=True)\n time.sleep(0.01)";
    let mut target = Target::python(mapped);
    let captured = snapshot(target.pid()).unwrap();
    assert!(captured.maps.len() > 9_900, "{}", captured.maps.len());
    println!("10,000 mappings: {:?}", captured.pause.unwrap());
    target.assert_runs();
}

#[test]
fn views_that_a_process_does_not_hand_on_are_in_the_map_and_not_in_the_dump() {
    let views = "import mmap,tempfile,time\nfile=tempfile.TemporaryFile()\nfile.truncate(4096)\n\
        keep=[mmap.mmap(file.fileno(),4096,prot=mmap.PROT_READ) for _ in range(50)]\n\
        for view in keep:\n view.madvise(mmap.MADV_DONTFORK)\n view[0]\n\
        print('up',flush=True)\nwhile True:\n print('ok',flush=True)\n time.sleep(0.01)";
    let mut target = Target::python(views);
    let captured = snapshot(target.pid()).unwrap();
    let entries = captured.maps.iter().map(|m| &m.entry);
    let views = entries.filter(|e| e.perms == "r--s" && e.end - e.start == 4096);
    assert!(views.count() >= 50, "{:?}", captured.maps);
    let sorted = captured.maps.is_sorted_by_key(|m| m.entry.start);
    assert!(sorted, "{:?}", captured.maps);
    let said = captured.warnings.join("\n");
    assert!(
        said.contains("204800 bytes that the process marked"),
        "{said}"
    );
    target.assert_runs();
}

/// Installs a filter that answers `clone` without CLONE_THREAD with `{answer}` and allows everything else.
const FILTERED: &str = r"
import ctypes, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
I = lambda code, jt, jf, k: struct.pack('<HBBI', code, jt, jf, k)
program = b''.join([
    I(0x20, 0, 0, 0), I(0x15, 0, 3, 56), I(0x20, 0, 0, 16), I(0x45, 1, 0, 0x10000), I(0x06, 0, 0, {answer}),
    I(0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(program)
class Prog(ctypes.Structure): _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
prog = Prog(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(prog), 0, 0) == 0
threading.Thread(target=threading.Event().wait, daemon=True).start()
print('up', flush=True)
while True:
    print('ok', flush=True); time.sleep(0.01)
";

#[test]
fn a_filter_that_denies_clone_is_seen_beforehand_and_stop_and_stream_takes_over() {
    // SECCOMP_RET_ERRNO with EPERM, RET_TRAP, RET_KILL_PROCESS, RET_ALLOW.
    for (answer, denies) in [
        (0x0005_0001_u32, true),
        (0x0003_0000, true),
        (0x8000_0000, true),
        (0x7fff_0000, false),
    ] {
        let program = FILTERED.replace("{answer}", &answer.to_string());
        let mut target = Target::python(&program);
        let result = snapshot(target.pid());
        target.assert_runs();
        if denies {
            let error = result.unwrap_err();
            assert!(
                matches!(error, CaptureError::Unfit { .. })
                    && error.to_string().contains("does not permit clone"),
                "{error}"
            );
            let folder = tempfile::tempdir().unwrap();
            let manifest = sealed(target.pid(), folder.path());
            assert_eq!(manifest.method, "stop-and-stream");
            assert!(
                manifest.warnings.iter().any(|w| w.contains("seccomp")),
                "{:?}",
                manifest.warnings
            );
        } else {
            result.unwrap();
        }
        target.assert_runs();
        assert_eq!(children(target.pid()), []);
    }
}

fn sealed(pid: u32, folder: &std::path::Path) -> leakhound_archive::Manifest {
    let archive = leakhound_archive::Archive::open_or_create(folder).unwrap();
    let config = CaptureConfig {
        reserve: Reserve::Bytes(0),
        ..CaptureConfig::default()
    };
    let place = seal::Place {
        archive: &archive,
        queue: None,
        config: &config,
        walker: None,
    };
    let target = discover::one(pid).unwrap();
    let cancel = Cancel::default();
    let result = seal::capture_once(
        place,
        &target,
        None,
        Kind::Heap,
        "test",
        &cancel,
        &mut |_| {},
    );
    result.unwrap().1
}

#[test]
fn a_vfork_in_progress_does_not_hold_the_target_up() {
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command
        .args([
            "--ignored",
            "--exact",
            "as_a_vforking_target",
            "--nocapture",
        ])
        .env("LEAKHOUND_TEST_TARGET", "1");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "up\n" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
    }
    let mut target = Target { child, out };
    let begun = Instant::now();
    let captured = snapshot(target.pid()).unwrap();
    let pause = captured.pause.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    println!("vfork in progress: {pause:?}");
    // The thread in vfork stops when its child has gone, and must go on then.
    let mut vforks = 0;
    let until = Instant::now() + Duration::from_secs(20);
    while vforks < 3 && Instant::now() < until {
        if target.line().contains("vfork") {
            vforks += 1;
        }
    }
    assert_eq!(vforks, 3, "the thread in vfork never came back");
}

/// Not a test of its own: a thread that is nearly always in vfork, and one that counts.
#[test]
#[ignore = "run by a_vfork_in_progress_does_not_hold_the_target_up"]
fn as_a_vforking_target() {
    if std::env::var_os("LEAKHOUND_TEST_TARGET").is_none() {
        return;
    }
    std::thread::spawn(|| {
        extern "C" fn child(_: *mut libc::c_void) -> libc::c_int {
            std::thread::sleep(Duration::from_millis(400));
            0
        }
        let mut stack = vec![0_u8; 1 << 20];
        loop {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            // SAFETY: the child has a stack of its own, calls nothing but a sleep, and ends before this goes on.
            let pid = unsafe {
                let top = stack.as_mut_ptr().add(stack.len() & !15);
                libc::clone(child, top.cast(), flags, std::ptr::null_mut())
            };
            // SAFETY: waits for the child just made.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            println!("vfork");
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    println!("up");
    loop {
        println!("count");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sockets_that_the_target_closes_are_closed_while_the_snapshot_is_written() {
    let program = "import socket,sys\ns=socket.socket()\ns.bind(('127.0.0.1',0))\ns.listen()\n\
        print('up',flush=True)\nprint(s.getsockname()[1],flush=True)\nwhile True:\n c,_=s.accept()\n c.recv(1)\n c.close()\n print('closed',flush=True)";
    let mut target = Target::python(program);
    let port: u16 = target.line().parse().unwrap();
    // Bytes go nowhere, but slowly: the client meets a server whose copy exists.
    struct Slow(u16, usize);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 < 3 {
                self.1 += 1;
                let mut client = std::net::TcpStream::connect(("127.0.0.1", self.0))?;
                client.set_read_timeout(Some(Duration::from_secs(5)))?;
                client.write_all(b"x")?;
                // The end of the stream comes only when nobody holds the socket any more.
                assert_eq!(io::Read::read(&mut client, &mut [0])?, 0);
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Sink for Slow {
        fn zeros(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let who = discover::one(target.pid()).unwrap();
    let job = Job {
        target: &who,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    let mut sink = Slow(port, 0);
    Snapshot::NEW.capture(&job, &mut sink, &mut |_| {}).unwrap();
    assert_eq!(sink.1, 3);
}

#[test]
fn a_target_that_dies_while_its_snapshot_is_written_is_captured_all_the_same() {
    struct Deadly(u32);
    impl Write for Deadly {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 != 0 {
                let pid = std::mem::take(&mut self.0).to_string();
                Command::new("kill").args(["-9", &pid]).status()?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Sink for Deadly {
        fn zeros(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let target = Target::python(MIXED);
    let who = discover::one(target.pid()).unwrap();
    let job = Job {
        target: &who,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    let captured = Snapshot::NEW
        .capture(&job, &mut Deadly(target.pid()), &mut |_| {})
        .unwrap();
    assert!(!captured.maps.is_empty());
}

/// The rights that the shipped systemd unit gives: another user, and two capabilities.
#[test]
fn two_capabilities_are_enough() {
    // SAFETY: asks for our own id.
    let me = unsafe { libc::geteuid() };
    assert_eq!(
        me, 0,
        "this test starts a program as another user: run it as root"
    );
    let mut target = Target::python(MIXED);
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("collector");
    // By another program: a file that this one has open for writing is copied into what other tests start, and busy.
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status()
        .unwrap();
    assert!(copied.success());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all,+sys_ptrace,+dac_read_search"])
        .args(["--ambient-caps=-all,+sys_ptrace,+dac_read_search"])
        .arg(&program)
        .args([
            "--ignored",
            "--exact",
            "as_a_modest_collector",
            "--nocapture",
        ])
        .current_dir("/")
        .env("LEAKHOUND_TEST_PID", target.pid().to_string())
        .env("RUNTIME_DIRECTORY", folder.path().join("run"))
        .output()
        .expect("setpriv of util-linux is needed by this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    target.assert_runs();
    assert_eq!(children(target.pid()), []);
}

/// Not a test of its own: the collector of the test above.
#[test]
#[ignore = "run by two_capabilities_are_enough"]
fn as_a_modest_collector() {
    let Some(pid) = variable("LEAKHOUND_TEST_PID") else {
        return;
    };
    let captured = snapshot(pid as u32).unwrap();
    assert!(captured.warnings.is_empty(), "{:?}", captured.warnings);
}
