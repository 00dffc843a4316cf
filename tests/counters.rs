//! Triggers on counters of real programs (`targets/counters.cs`), on every runtime: what they read, what they leave behind,
//! and what is said where they cannot be read.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::{Archive, Filter, Manifest};
use leakhound_testbed::{Service, Version, runtimes, targets};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any busy machine takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Runtimes whose streams differ.
const RUNTIMES: [Version; 3] = [Version::Net31, Version::Net8, Version::Net10];

const QUEUE: &str = "counter(\"Shop-Baskets/queue-length\")";
const ORDERS: &str = "counter(\"Shop-Baskets/orders\")";

fn start(version: Version) -> Service {
    let root = runtimes::get(version).unwrap();
    targets::app("counters").unwrap().on(&root).start().unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the program says of itself that somebody listens to it, or that nobody does.
fn until_heard(service: &mut Service, is_heard: bool) {
    until(&format!("is_enabled is {is_heard}"), || {
        service.refresh().unwrap()["is_enabled"] == is_heard
    });
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakhound"));
    command
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .stdin(Stdio::null());
    command
}

/// An agent, killed without a word when dropped.
struct Agent {
    child: Child,
    folder: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let config = folder.join("leakhound.toml");
        let child = program(&["--log-json", "run", "--config", config.to_str().unwrap()])
            .env("RUNTIME_DIRECTORY", folder.join("run"))
            .stderr(log)
            .spawn()
            .unwrap();
        let folder = folder.to_owned();
        Self { child, folder }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(folder: &Path, pid: u32, triggers: &[(&str, &str)]) {
    let archive = folder.join("archive");
    let mut text = format!(
        "[archive]\nlocation = {archive:?}\n[capture]\nreserve = \"1 MB\"\n\
         [[service]]\nname = \"baskets\"\npid = {pid}\nevery = \"1 s\"\n"
    );
    for (name, when) in triggers {
        text.push_str(&format!(
            "[[service.trigger]]\nname = \"{name}\"\nwhen = '{when}'\n"
        ));
    }
    std::fs::write(folder.join("leakhound.toml"), text).unwrap();
}

/// The capture that a trigger began, once it is sealed.
fn captured(folder: &Path) -> Option<Manifest> {
    let archive = Archive::open(&folder.join("archive")).ok()?;
    let found = archive.list(&Filter::default()).ok()?;
    found.bundles.first()?.manifest().ok()
}

fn fires_and_leaves_nothing_behind(version: Version) {
    let mut service = start(version);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let backlog = format!("{QUEUE} > 100 and average({ORDERS}, 20 s) > 1 for 1 s");
    let misspelt =
        "counter(\"Shop-Baskets/queue-lenght\") > 1 or counter(\"Shop-Basket/orders\") > 1";
    let triggers = [("backlog", backlog.as_str()), ("misspelt", misspelt)];
    configure(folder, service.pid(), &triggers);
    let agent = Agent::start(folder);
    until_heard(&mut service, true);
    let wrong = [
        "has no counter called `queue-lenght`; did you mean `queue-length`?",
        "no event source called `Shop-Basket`",
    ];
    until("both are named", || {
        let said = agent.said();
        wrong.iter().all(|words| said.contains(words))
    });
    assert!(captured(folder).is_none(), "three baskets are no backlog");

    service.send("wait 150").unwrap();
    let mut found = None;
    until(&format!("{version}: a capture"), || {
        found = captured(folder);
        found.is_some()
    });
    let manifest = found.unwrap();
    let trigger = manifest.trigger.as_ref().unwrap();
    assert_eq!(trigger.name, "backlog", "{trigger:?}");
    assert!(
        trigger.evidence.contains(&format!("{QUEUE} = 150")),
        "{trigger:?}"
    );
    let samples = trigger.samples.iter().filter(|s| s.fact == QUEUE);
    let values: Vec<f64> = samples.map(|s| s.value).collect();
    assert!(
        values.contains(&3.0) && values.ends_with(&[150.0]),
        "{version}: {values:?}"
    );
    assert_eq!(manifest.process_facts.get(QUEUE), Some(&150.0));
    let orders = manifest.process_facts.get(ORDERS).copied();
    assert!(
        orders.is_none_or(|n| (1.0..=20.0).contains(&n)),
        "{orders:?}"
    );
    for words in wrong {
        assert_eq!(agent.said().matches(words).count(), 1, "{}", agent.said());
    }

    // Nobody asks any more, somebody asks again, and the one who asked is killed.
    let asked = service.refresh().unwrap()["times_enabled"].clone();
    configure(folder, service.pid(), &[("other", "rss > 1 TB")]);
    until_heard(&mut service, false);
    configure(folder, service.pid(), &[("backlog", &backlog)]);
    until_heard(&mut service, true);
    let again = service.refresh().unwrap();
    assert!(again["times_enabled"].as_u64() > asked.as_u64(), "{again}");
    drop(agent);
    until_heard(&mut service, false);
    assert!(service.report()["times_disabled"].as_u64() >= Some(1));
}

#[test]
fn a_trigger_on_a_counter_fires_on_every_runtime_and_a_killed_agent_leaves_no_session() {
    std::thread::scope(|scope| {
        for version in RUNTIMES {
            scope.spawn(move || fires_and_leaves_nothing_behind(version));
        }
    });
}

/// `leakhound watch` of one process with one trigger.
struct Watching {
    child: Child,
    lines: Receiver<Value>,
}

impl Watching {
    fn start(pid: u32, when: &str) -> Self {
        let pid = pid.to_string();
        let arguments = [
            "watch", &pid, "--when", when, "--every", "200 ms", "--format", "json",
        ];
        let mut child = program(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next look: what the trigger compares, and what it does not know.
    fn look(&self) -> (Option<f64>, String) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let trigger = &line["processes"][0]["triggers"][0];
        let value = trigger["conditions"][0]["value"].as_f64();
        (value, trigger["unknown"].to_string())
    }

    fn until_value(&self, expected: Option<f64>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (value, unknown) = self.look();
            if value == expected {
                return unknown;
            }
            assert!(Instant::now() < deadline, "{value:?} {unknown}");
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_who_listen_do_not_disturb_each_other() {
    for version in RUNTIMES {
        let mut service = start(version);
        let one = Watching::start(service.pid(), &format!("{QUEUE} > 1_000"));
        one.until_value(Some(3.0));
        let other = Watching::start(service.pid(), &format!("{QUEUE} > 1_000 and {ORDERS} > 0"));
        other.until_value(Some(3.0));
        drop(one);
        // Longer than a value lasts: the other one goes on.
        std::thread::sleep(Duration::from_secs(5));
        service.send("wait 77").unwrap();
        other.until_value(Some(77.0));
        drop(other);
        until_heard(&mut service, false);
    }
}

#[test]
fn doctor_says_which_counters_are_read_and_why_others_are_not() {
    let mut service = start(Version::Net8);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("leakhound.toml");
    let doctor = |when: &str| {
        configure(folder.path(), service.pid(), &[("counted", when)]);
        let arguments = ["doctor", "--config", config.to_str().unwrap()];
        let output = program(&arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\n', " ")
    };
    let said = doctor(&format!("{QUEUE} > 100 and {ORDERS} > 1"));
    assert!(
        said.contains("all that its triggers name is read"),
        "{said}"
    );
    let said = doctor(&format!(
        "{QUEUE} > 100 or counter(\"Shop-Baskets/order\") > 1"
    ));
    for words in [
        "counter(\"Shop-Baskets/order\") cannot be read",
        "did you mean `orders`?",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains(QUEUE), "{said}");
    until_heard(&mut service, false);
}

#[test]
fn a_process_that_stands_still_holds_nobody_up() {
    // Its socket lies where nobody else's does.
    let folder = tempfile::tempdir().unwrap();
    let service = targets::app("counters")
        .unwrap()
        .on(&runtimes::get(Version::Net8).unwrap())
        .env("TMPDIR", folder.path().to_str().unwrap())
        .start()
        .unwrap();
    let watching = Watching::start(service.pid(), &format!("{QUEUE} > 1"));
    watching.until_value(Some(3.0));
    let signal = |signal| {
        // SAFETY: sends a signal to a child of ours that is not reaped yet.
        unsafe { libc::kill(service.pid().cast_signed(), signal) };
    };
    signal(libc::SIGSTOP);
    let stopped = Instant::now();
    let why = watching.until_value(None);
    assert!(why.contains("its last value is"), "{why}");
    // The looks went on meanwhile, one each 200 ms: unknown after three and a half seconds, not after a timeout.
    assert!(
        stopped.elapsed() < Duration::from_secs(20),
        "{:?}",
        stopped.elapsed()
    );
    signal(libc::SIGCONT);
    watching.until_value(Some(3.0));
}

#[test]
fn where_no_counter_can_be_read_the_reason_is_said() {
    let root = runtimes::get(Version::Net10).unwrap();
    let app = targets::app("counters").unwrap();
    let silent = app
        .on(&root)
        .env("DOTNET_EnableDiagnostics", "0")
        .start()
        .unwrap();
    let watching = Watching::start(silent.pid(), &format!("{QUEUE} > 1"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (value, why) = watching.look();
        assert_eq!(value, None);
        if why.contains("turned off (DOTNET_EnableDiagnostics=0)") {
            break;
        }
        assert!(Instant::now() < deadline, "{why}");
    }
    let native = Watching::start(std::process::id(), &format!("{QUEUE} > 1"));
    let (_, why) = native.look();
    assert!(why.contains("no .NET runtime"), "{why}");
}
