//! Captures under hard conditions: a full disk, a target that execs all the time, threads that come and go.
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
