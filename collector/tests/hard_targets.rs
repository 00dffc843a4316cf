//! Captures under hard conditions: a full disk, a target that execs all the time, threads that come and go, one that
//! belongs to somebody else or lives in a namespace of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::{Archive, Filter};
use leakhound_collector::capture::{Cancel, CaptureError};
use leakhound_collector::config::{CaptureConfig, Kind, Reserve};
use leakhound_collector::{discover, seal};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(program: &str) -> Killed {
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "up\n");
    Killed(child)
}

fn capture(pid: u32, folder: &Path) -> Result<(), CaptureError> {
    let archive = Archive::open_or_create(folder).unwrap();
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
    let target = discover::one(pid).map_err(|_| CaptureError::Exited {
        pid,
        when: "at once",
    })?;
    seal::capture_once(
        place,
        &target,
        Some("hard"),
        Kind::Heap,
        "test",
        &Cancel::default(),
        &mut |_| {},
    )
    .map(drop)
}

fn is_free(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.contains("TracerPid:\t0\n")
        && !status.contains("State:\tt")
        && !status.contains("State:\tT")
}

/// In a user and mount namespace of its own, this test program meets a disk of 48 MiB.
#[test]
fn a_disk_that_fills_up_in_the_middle_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=48m none {} && exec {} --ignored --exact on_a_small_disk --nocapture",
        folder.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env("LEAKHOUND_TEST_FOLDER", folder.path())
        .output()
        .expect("unshare of util-linux is needed by this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
#[ignore = "run by a_disk_that_fills_up_in_the_middle_is_a_clear_error"]
fn on_a_small_disk() {
    let Ok(folder) = std::env::var("LEAKHOUND_TEST_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    // Random bytes do not compress: the prediction of one half fits, the truth does not.
    let target =
        python("import os,time\nx=os.urandom(72<<20)\nprint('up',flush=True)\ntime.sleep(60)");
    let error = capture(target.0.id(), folder).unwrap_err().to_string();
    assert!(
        error.contains("No space left") && error.contains("nothing was kept"),
        "{error}"
    );
    assert!(is_free(target.0.id()));
    let archive = Archive::open(folder).unwrap();
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 0);
    assert!(
        archive.sweep().unwrap().removed.is_empty(),
        "the partial bundle was left behind"
    );
    assert!(archive.free_bytes().unwrap() > 40 << 20);
}

#[test]
fn a_target_that_execs_all_the_time_is_captured_or_refused_and_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = "i=$((${1:-0}+1)); [ $i -gt 3000 ] && exec sleep 60; exec sh -c \"$0\" \"$0\" $i";
    let target = Killed(
        Command::new("sh")
            .args(["-c", script, script])
            .spawn()
            .unwrap(),
    );
    let pid = target.0.id();
    let (mut taken, mut refused) = (0, 0);
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        match capture(pid, folder.path()) {
            Ok(()) => taken += 1,
            Err(CaptureError::Replaced { .. } | CaptureError::Read { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(
            is_free(pid),
            "after {taken} captures and {refused} refusals"
        );
    }
    assert!(taken + refused > 5, "{taken} {refused}");
}

#[test]
fn threads_that_come_and_go_are_all_caught_and_all_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let target = python(
        "import threading,time\nprint('up',flush=True)\nend=time.time()+20\n\
         while time.time()<end:\n    t=[threading.Thread(target=time.sleep,args=(0.001,)) for _ in range(20)]\n\
         \x20   [x.start() for x in t]\n    [x.join() for x in t]\n",
    );
    let pid = target.0.id();
    for _ in 0..10 {
        capture(pid, folder.path()).unwrap();
        assert!(is_free(pid));
    }
    let archive = Archive::open(folder.path()).unwrap();
    let newest = archive
        .list(&Filter::default())
        .unwrap()
        .bundles
        .pop()
        .unwrap();
    let image = leakhound_dump::open(newest.open_dump().unwrap()).unwrap();
    assert!(image.threads.iter().any(|t| t.os_id == pid && t.ip != 0));
}

#[test]
fn init_this_program_and_dead_processes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for pid in [1, std::process::id()] {
        let error = capture(pid, folder.path()).unwrap_err();
        assert!(matches!(error, CaptureError::Refused { .. }), "{error}");
    }
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let error = capture(child.id(), folder.path()).unwrap_err();
    assert!(matches!(error, CaptureError::Exited { .. }), "{error}");
}

/// In a thread of its own, which gives up every right before it captures.
#[test]
fn what_may_not_be_captured_says_which_right_is_missing() {
    const NOBODY: u32 = 65_534;
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can become somebody who may do less.
        return;
    }
    let target = python("import time\nprint('up',flush=True)\ntime.sleep(60)");
    let pid = target.0.id();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let place = folder.path().to_owned();
    let nobody = std::thread::spawn(move || {
        // SAFETY: the plain call concerns this thread alone, which ends with the test.
        let left = unsafe {
            libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY)
                | libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY)
        };
        assert_eq!(left, 0);
        capture(pid, &place).unwrap_err()
    });
    let error = nobody.join().unwrap();
    assert!(matches!(error, CaptureError::NoMethod { .. }), "{error}");
    let error = error.to_string();
    for words in ["not permitted", "CAP_SYS_PTRACE", "not a .NET process"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(is_free(pid));
    let archive = Archive::open(folder.path()).unwrap();
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 0);
}

/// A container's first process: it has id 1 inside, and whatever it does not know of it would have to reap.
#[test]
fn the_first_process_of_a_pid_namespace_is_captured_and_keeps_no_zombie() {
    let folder = tempfile::tempdir().unwrap();
    let program = "import os,signal,time\nborn=[0]\n\
                   def h(*a): born[0]+=1\n\
                   signal.signal(signal.SIGCHLD,h)\nprint('up',flush=True)\n\
                   while True:\n  time.sleep(0.05)\n  print(os.getpid(),born[0],flush=True)";
    let mut child = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["python3", "-c", program])
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare of util-linux is needed by this test");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let outer = Killed(child);
    let children = |pid: u32| {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        list.split_ascii_whitespace()
            .map(|w| w.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    let [pid] = children(outer.0.id())[..] else {
        panic!("{:?}", children(outer.0.id()));
    };
    for _ in 0..3 {
        capture(pid, folder.path()).unwrap();
        assert!(is_free(pid));
        assert_eq!(children(pid), [0_u32; 0]);
    }
    let archive = Archive::open(folder.path()).unwrap();
    let bundles = archive.list(&Filter::default()).unwrap().bundles;
    assert_eq!(bundles.len(), 3);
    for bundle in &bundles {
        let manifest = bundle.manifest().unwrap();
        assert_eq!((manifest.pid, manifest.method.as_str()), (pid, "snapshot"));
    }
    // It is the first inside, and was told of no child.
    for _ in 0..60 {
        line.clear();
        out.read_line(&mut line).unwrap();
    }
    assert_eq!(line, "1 0\n");
}

#[test]
fn a_process_without_memory_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let zombie = Killed(Command::new("true").spawn().unwrap());
    let pid = zombie.0.id();
    let until = Instant::now() + Duration::from_secs(30);
    let is_zombie = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.contains("State:\tZ")
    };
    while !is_zombie() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = capture(pid, folder.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("process {pid}")), "{error}");
    let archive = Archive::open_or_create(folder.path()).unwrap();
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 0);
}

/// The id was given to another process between the sample and the capture.
#[test]
fn a_reused_id_is_never_captured() {
    let folder = tempfile::tempdir().unwrap();
    let target = python("import time\nprint('up',flush=True)\ntime.sleep(60)");
    let mut sampled = discover::one(target.0.id()).unwrap();
    sampled.start_ticks -= 1;
    let archive = Archive::open_or_create(folder.path()).unwrap();
    for kind in [Kind::Heap, Kind::Full] {
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
        let cancel = Cancel::default();
        let error = seal::capture_once(place, &sampled, None, kind, "test", &cancel, &mut |_| {})
            .unwrap_err();
        assert!(matches!(error, CaptureError::Exited { .. }), "{error}");
    }
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 0);
    assert!(archive.sweep().unwrap().removed.is_empty());
}
