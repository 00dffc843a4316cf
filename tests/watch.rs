//! `leakhound watch` on live .NET processes: every family of triggers, and a terminal that is left as it was found.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Service, Version, runtimes, targets};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any busy machine takes to look at a process a few times.
const PATIENCE: Duration = Duration::from_secs(120);

fn watch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakhound"));
    command
        .arg("watch")
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    watch(arguments).output().unwrap()
}

/// A watch that runs, and what it says line by line.
struct Watching {
    child: Child,
    lines: Receiver<Value>,
    last: Value,
}

impl Watching {
    fn start(pids: &[u32], triggers: &[&str]) -> Self {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let mut arguments: Vec<&str> = pids.iter().map(String::as_str).collect();
        arguments.extend(["--format", "json", "--every", "200 ms"]);
        arguments.extend(triggers.iter().flat_map(|t| ["--when", t]));
        let mut child = watch(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let line = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            last: Value::Null,
        }
    }

    /// What is said of one trigger of a process in the first look in which that is `wanted`.
    fn wait(&mut self, pid: u32, when: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.last = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("{when} of {pid}: {:#}", self.last));
            if let Some(trigger) = self.trigger(pid, when)
                && wanted(&trigger)
            {
                return trigger;
            }
        }
    }

    fn process(&self, pid: u32) -> Option<&Value> {
        let processes = self.last["processes"].as_array()?;
        processes.iter().find(|p| p["pid"] == pid)
    }

    fn trigger(&self, pid: u32, when: &str) -> Option<Value> {
        let triggers = self.process(pid)?["triggers"].as_array()?;
        triggers.iter().find(|t| t["when"] == when).cloned()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(name: &str) -> Service {
    targets::app(name)
        .unwrap()
        .on(&runtimes::get(Version::Net8).unwrap())
        .env("SHOP_PERCENT", "5")
        .start()
        .unwrap()
}

fn threads_of(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .count() as u64
}

#[test]
fn every_family_of_triggers_fires_on_a_live_process_and_only_when_it_should() {
    let mut leaking = start("thread-leak");
    let (one, two) = (start("thread-leak"), start("thread-leak"));
    let pid = leaking.pid();
    let now = threads_of(pid);
    let (first, second) = (now + 50, now + 150);
    let steps = format!("threads > steps({first}, {second})");
    let siblings = "threads > 2 * siblings(threads)";
    let below = "managed.heap < 1 GB and managed.heap > 0 B and managed.time_in_gc < 50% and node.available < 1000 TB";
    // It collects only when it is told to.
    let collections = 6;
    let managed = format!("managed.gc_count.gen2 >= {collections}");
    let handles = "managed.handles.strong > 0 and managed.handles.weak > 0 and managed.finalizer_ready < 1_000_000";
    let held = format!("threads > {first} for 400 ms");
    let nobody = "managed.handles.pinned > 100_000_000 or limit_share > 100_000%";
    let mut watching = Watching::start(
        &[pid, one.pid(), two.pid()],
        &[&steps, siblings, below, &managed, handles, &held, nobody],
    );

    // Quiet: what is below fires, what asks for more does not.
    watching.wait(pid, below, |t| t["fires"] == true);
    watching.wait(pid, handles, |t| t["fires"] == true);
    for quiet in [steps.as_str(), siblings, &managed, &held] {
        let trigger = watching.trigger(pid, quiet).unwrap();
        assert_eq!(trigger["fires"], false, "{trigger:#}");
        assert_eq!(trigger["fired"], 0, "{trigger:#}");
    }

    // The first step: each fires once, and what lasts is held.
    leaking.send("grow 100").unwrap();
    let reached = watching.wait(pid, &steps, |t| t["fires"] == true);
    let condition = &reached["conditions"][0];
    assert_eq!(condition["threshold"], first, "{reached:#}");
    assert!(condition["value"].as_u64() > Some(first), "{reached:#}");
    let done = watching.wait(pid, &steps, |t| t["fires"] == false);
    let condition = &done["conditions"][0];
    assert_eq!(
        (&condition["steps_fired"], &condition["threshold"]),
        (&1.into(), &second.into()),
        "{done:#}"
    );
    watching.wait(pid, siblings, |t| t["fires"] == true);
    let long = watching.wait(pid, &held, |t| t["fires"] == true);
    assert!(
        long["conditions"][0]["held_ms"].as_u64() >= Some(400),
        "{long:#}"
    );
    let other = watching.trigger(one.pid(), siblings).unwrap();
    assert_eq!(other["fires"], false, "{other:#}");
    assert_eq!(watching.trigger(pid, &steps).unwrap()["fired"], 1);

    // The second step, and live managed values that change.
    leaking.send("grow 100").unwrap();
    watching.wait(pid, &steps, |t| t["fired"] == 2);
    for _ in 0..collections {
        leaking.send("gc").unwrap();
    }
    watching.wait(pid, &managed, |t| t["fires"] == true);
    let never = watching.trigger(pid, nobody).unwrap();
    assert_ne!(never["truth"], "true", "{never:#}");
    let process = watching.process(pid).unwrap();
    for fact in [
        "private_bytes",
        "rss",
        "cpu",
        "cpu.machine",
        "threads",
        "fds",
        "managed.heap",
        "managed.finalizer_ready",
        "managed.handles.strong",
    ] {
        assert!(process["facts"][fact].is_number(), "{fact}: {process:#}");
    }
    // Nobody asked for these, so nobody looked.
    assert!(process["facts"]["managed.gen0"].is_null(), "{process:#}");
}

#[test]
fn a_process_that_computes_is_seen_to_and_ends_quietly() {
    let busy = start("busy");
    let pid = busy.pid();
    let cpu = "cpu > 1% and cpu.machine < 101% for 300 ms";
    let slope = "rate(managed.gc_count.gen0, 30 s) > 1/h";
    let collecting = "managed.time_in_gc > 0% and managed.time_in_gc <= 100%";
    let mut watching = Watching::start(&[pid], &[cpu, slope, collecting]);
    watching.wait(pid, cpu, |t| t["fires"] == true);
    watching.wait(pid, collecting, |t| t["fires"] == true);
    watching.wait(pid, slope, |t| t["fires"] == true);
    drop(busy);
    let deadline = Instant::now() + PATIENCE;
    while watching.process(pid).is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        watching.last = watching.lines.recv_timeout(left).unwrap();
    }
    assert!(watching.child.try_wait().unwrap().is_none());
}

#[test]
fn text_goes_to_a_pipe_in_blocks_and_nothing_is_captured() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let config = folder.path().join("leakhound.toml");
    let me = std::process::id();
    let text = format!(
        "[archive]\nlocation = {archive:?}\n[[service]]\nname = \"me\"\npid = {me}\n\
         [[service.trigger]]\nname = \"always\"\nwhen = \"private_bytes > 1 KB\"\n[[service]]\nname = \"no-such-service\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let path = config.display().to_string();
    let said = output(&["--config", &path, "--count", "2", "--every", "100 ms"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(
        text.matches("1 process, 1 trigger would fire").count(),
        2,
        "{text}"
    );
    assert!(text.contains("always (fired 1 time)"), "{text}");
    assert!(
        text.contains("No process matches `no-such-service` now."),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
    assert!(!archive.exists(), "a dry run makes no archive");
}

#[test]
fn what_cannot_be_watched_is_refused_with_a_way_out() {
    for (arguments, code, says) in [
        (&["--config", "/no/such.toml"][..], 2, "leakhound watch PID"),
        (&["4294967294"], 3, "is it running"),
        (
            &["1", "--when", "private_byte > 1 GB"],
            2,
            "did you mean `private_bytes`?",
        ),
        (
            &["1", "--when", "loh.free > 1 GB"],
            2,
            "only be read from a dump",
        ),
        (&["1", "--when", "threads > steps(9, 3)"], 2, "must rise"),
        (&["1", "--every", "5"], 2, "time span"),
        (
            &["1", "--config", "/no/such.toml"],
            2,
            "cannot be used with",
        ),
        (&["1", "--count", "0"], 2, "0"),
    ] {
        let said = output(arguments);
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}

#[test]
fn a_terminal_gets_a_screen_and_is_restored_on_ctrl_c() {
    let (mut terminal, inner) = terminal();
    let me = std::process::id().to_string();
    let mut child = watch(&[&me, "--when", "private_bytes > 1 KB"])
        .env("TERM", "xterm")
        .stdout(Stdio::from(inner))
        .spawn()
        .unwrap();
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // A pseudo-terminal whose other side is closed gives an error, not an end.
        while let Ok(n @ 1..) = terminal.read(&mut buffer) {
            let _ = sender.send(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    let mut read_until = |wanted: &str| {
        while !seen.contains(wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            match pieces.recv_timeout(left) {
                Ok(piece) => seen.push_str(&piece),
                Err(_) => panic!("{wanted:?} never came: {seen:?}"),
            }
        }
    };
    read_until("\x1b[?1049h\x1b[?25l");
    read_until("would fire");
    // SAFETY: the child is ours and not yet reaped.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    read_until("\x1b[?25h\x1b[?1049l");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let restored = seen.rfind("\x1b[?1049l").unwrap();
    assert!(!seen[restored..].contains("would fire"), "{seen:?}");
}

/// A pseudo-terminal: the side that a person looks at, and the program's.
fn terminal() -> (std::fs::File, OwnedFd) {
    let (mut outer, mut inner) = (0, 0);
    // SAFETY: the two numbers are written; name, settings and size may be absent.
    let done = unsafe {
        libc::openpty(
            &raw mut outer,
            &raw mut inner,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(done, 0);
    // SAFETY: both descriptors were just made and belong to nobody else.
    unsafe {
        (
            std::fs::File::from_raw_fd(outer),
            OwnedFd::from_raw_fd(inner),
        )
    }
}

#[test]
fn every_expression_of_the_manual_is_a_trigger() {
    let manual = include_str!("../docs/triggers.md");
    let mut read = 0;
    for line in manual.lines().filter(|l| l.starts_with("| ")) {
        // The cell on the right; what is on the left is ProcDump's, or plain words.
        let cell = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for text in cell.split('`').skip(1).step_by(2) {
            if text == "write" || text.starts_with("limit = ") {
                continue;
            }
            let trigger = leakhound_rules::Trigger::parse(text)
                .unwrap_or_else(|error| panic!("docs/triggers.md: {error}"));
            assert!(trigger.facts_never_live().is_empty(), "{text}");
            read += 1;
        }
    }
    assert!(read > 30, "{read}");
}
