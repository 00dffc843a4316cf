//! Captures that end otherwise than they should: the target runs on, and nothing of us stays in it.

use super::target::{METHODS, Plain, Target, capture, capture_to, folder};
use leakhound_collector::capture::{
    Cancel, CaptureError, CaptureMethod, Content, Job, Sink, stream::StopAndStream,
};
use leakhound_collector::config::CaptureConfig;
use leakhound_collector::discover;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs this test program again as a collector that captures into a pipe nobody empties, and kills it there.
#[test]
fn a_collector_that_is_killed_leaves_the_target_running() {
    let mut target = Target::start(8);
    let me = std::env::current_exe().unwrap();
    for _ in 0..5 {
        let mut collector = Command::new(&me)
            .args([
                "--ignored",
                "--exact",
                "ends::as_a_collector",
                "--nocapture",
            ])
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
