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
