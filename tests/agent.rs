//! The agent as a service manager runs it: hot reload, an orderly end, and what `doctor` says about it.
#![cfg(target_os = "linux")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Agent {
    child: Child,
    log: std::path::PathBuf,
}

impl Agent {
    fn start(folder: &Path, config: &Path) -> Self {
        let log = folder.join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_leakhound"))
            .args(["--log-json", "run", "--config"])
            .arg(config)
            // Captures of other tests do not hold it up.
            .env("RUNTIME_DIRECTORY", folder.join("run"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("the log can be made"))
            .spawn()
            .expect("the built program starts");
        Self { child, log }
    }

    fn said(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(&self.log) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }

    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.said().contains(words) {
            assert!(
                Instant::now() < deadline,
                "`{words}` was never said:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, services: &str) -> String {
    let archive = folder.join("archive");
    format!("[archive]\nlocation = {archive:?}\n{services}")
}

#[test]
fn a_bad_edit_keeps_the_last_good_configuration_and_the_end_is_orderly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("leakhound.toml");
    let write = |services: &str| {
        std::fs::write(&config, configuration(folder.path(), services)).expect("it can be written");
    };
    write("");
    let mut agent = Agent::start(folder.path(), &config);
    agent.wait_for("Leakhound is watching");
    write("[[service]]\nname = \"a\"\nevrey = \"5 s\"\n");
    agent.wait_for("the last good one stays in force");
    assert!(
        agent.said().contains("every"),
        "the error suggests the key: {}",
        agent.said()
    );
    write("[[service]]\nname = \"no-such-service\"\n");
    agent.wait_for("Configuration is read again");

    // SAFETY: the child is ours and not yet reaped.
    unsafe { libc::kill(agent.child.id().cast_signed(), libc::SIGTERM) };
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = agent.child.try_wait().expect("it can be asked") {
            break status;
        }
        assert!(
            Instant::now() < deadline,
            "it does not stop:\n{}",
            agent.said()
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(0), "{}", agent.said());
    agent.wait_for("Stopped");
    for line in agent.said().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(
            entry["level"].is_string() && entry["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn doctor_finds_an_unreachable_destination_and_shows_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("leakhound.toml");
    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let secret = folder.path().join("webhook");
    std::fs::write(
        &secret,
        format!("http://127.0.0.1:{port}/hooks/very-secret-path"),
    )
    .expect("written");
    let notify =
        format!("[[notify]]\nname = \"oncall\"\nslack = {{ webhook = {{ file = {secret:?} }} }}\n");
    std::fs::write(&config, configuration(folder.path(), &notify)).expect("it can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(["doctor", "--config"])
        .arg(&config)
        .output()
        .expect("the built program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("oncall cannot be reached"), "{said}");
    assert!(!said.contains("very-secret-path"), "{said}");
}

/// Three captures of one process without a dump: one by hand, and a pair by the agent, whose growth is measured inside it.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_pair_is_judged_from_its_own_first_capture() {
    use leakhound_testbed::{Version, runtimes, targets};
    use serde_json::Value;

    let root = runtimes::get(Version::Net8).expect("a runtime");
    let app = targets::app("static-root").expect("the target compiles");
    let mut service = app.on(&root).start().expect("the target starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = folder.path().join("archive");
    let by_hand = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args([
            "capture",
            &service.pid().to_string(),
            "--kind",
            "facts",
            "--no-triage",
        ])
        .args(["--service", "cart", "--out"])
        .arg(&archive)
        .env("RUNTIME_DIRECTORY", folder.path().join("run"))
        .output()
        .expect("the built program starts");
    assert!(by_hand.status.success(), "{by_hand:?}");
    let config = folder.path().join("leakhound.toml");
    let text = format!(
        "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"cart\"\npid = {}\nevery = \"200 ms\"\nkind = \"facts\"\npair = \"20 MB\"\n\
         [[service.trigger]]\nname = \"big\"\nwhen = \"private_bytes > 50 MB\"\n",
        service.pid()
    );
    std::fs::write(&config, configuration(folder.path(), &text)).expect("it can be written");
    let diagnosed = || {
        let bundles = std::fs::read_dir(archive.join("cart"))
            .into_iter()
            .flatten();
        let bundles = bundles.flatten().map(|b| b.path());
        let mut done: Vec<_> = bundles
            .filter(|b| b.join("diagnosis.json").is_file())
            .collect();
        done.sort();
        done
    };
    let agent = Agent::start(folder.path(), &config);
    let wait_for = |count: usize| {
        let deadline = Instant::now() + Duration::from_secs(300);
        while diagnosed().len() < count {
            assert!(Instant::now() < deadline, "{}", agent.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // The one by hand is taken up, and the trigger holds from the start.
    wait_for(2);
    service.send("grow 120").expect("the target grows");
    wait_for(3);
    let json = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("JSON")
    };
    let bundles = diagnosed();
    let [by_hand, first, second] = &bundles[..] else {
        panic!("{bundles:?}");
    };
    let manifest = |bundle: &Path| json(&bundle.join("capture.json"));
    assert_eq!(manifest(by_hand)["pair"], Value::Null);
    assert_eq!(manifest(first)["pair"]["part"], "first");
    assert_eq!(manifest(second)["pair"]["part"], "second");
    let moment = |value: &Value| {
        let time: Result<jiff::Timestamp, _> = value.as_str().unwrap_or_default().parse();
        time.expect("a time").as_millisecond()
    };
    assert_eq!(
        moment(&manifest(second)["pair"]["first_at"]),
        moment(&manifest(first)["captured_at"])
    );
    let captures =
        |bundle: &Path| json(&bundle.join("diagnosis.json"))["facts"]["growth.captures"].clone();
    assert_eq!(captures(first), 2);
    assert_eq!(
        captures(second),
        2,
        "the one by hand is older than the pair"
    );
    let names = std::fs::read_dir(second).expect("the bundle is there");
    let dumps = names
        .flatten()
        .filter(|n| n.file_name().to_string_lossy().starts_with("memory."));
    assert_eq!(dumps.count(), 0);
}

#[test]
fn figures_are_written_for_prometheus_and_go_when_the_agent_does() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("leakhound.toml");
    let (first, second) = (folder.path().join("a.prom"), folder.path().join("b.prom"));
    let write = |file: &Path| {
        let rest = format!(
            "[metrics]\nfile = {file:?}\n[[service]]\nname = \"no-such-service\"\n\
             [[notify]]\nname = \"ops\"\nslack = {{ webhook = {{ env = \"NOWHERE\" }} }}\n"
        );
        std::fs::write(&config, configuration(folder.path(), &rest)).expect("it can be written");
    };
    let until = |agent: &Agent, what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "{what} did not come true:\n{}",
                agent.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    write(&first);
    let mut agent = Agent::start(folder.path(), &config);
    until(&agent, "the first file", &|| first.exists());
    let page = std::fs::read_to_string(&first).expect("it is whole once it is there");
    for line in [
        "leakhound_outbox_messages{destination=\"ops\",state=\"dead\"} 0",
        "leakhound_incidents{state=\"open\"} 0",
        "leakhound_queue_jobs{state=\"waiting\"} 0",
        "leakhound_archive_dump_limit_bytes 50000000000",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
    assert!(
        !page.contains("leakhound_archive_limit_bytes"),
        "there is no such limit:\n{page}"
    );
    let mode = std::fs::metadata(&first)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644, "node_exporter may read it");
    let promtool = leakhound_testbed::debian::program("prometheus", "promtool")
        .expect("this test needs promtool, which could not be had: apt-get install prometheus");
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&first).expect("it can be read"))
        .output()
        .expect("promtool runs");
    assert!(checked.status.success(), "{checked:?}");

    write(&second);
    until(&agent, "the second file", &|| {
        second.exists() && !first.exists()
    });
    // SAFETY: a signal to a child of ours that has not been waited for.
    unsafe { libc::kill(agent.child.id().cast_signed(), libc::SIGTERM) };
    let ended = agent.child.wait().expect("it ends");
    assert!(ended.success(), "{}", agent.said());
    assert!(!second.exists());
}

#[test]
fn a_place_for_figures_that_nobody_would_read_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("leakhound.toml");
    for (section, said) in [
        ("file = \"leakhound.prom\"", "absolute"),
        ("file = \"/tmp/leakhound.txt\"", ".prom"),
        ("port = 9100", "port"),
    ] {
        let rest = format!("[metrics]\n{section}\n");
        std::fs::write(&config, configuration(folder.path(), &rest)).expect("it can be written");
        let output = Command::new(env!("CARGO_BIN_EXE_leakhound"))
            .args(["run", "--check", "--config"])
            .arg(&config)
            .output()
            .expect("the built program starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{section}: {words}");
        assert!(words.contains(said), "{section}: {words}");
    }
}
