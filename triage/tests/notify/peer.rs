//! A server of others that runs beside a test: a Python program that says in lines of JSON where it listens and what it got.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Longer than any of them takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program; it ends when its standard input does, and is killed when dropped.
pub struct Peer {
    child: Child,
    lines: Receiver<Value>,
    log: PathBuf,
    /// The first line: where it listens.
    pub at: Value,
}

impl Peer {
    /// Starts a program and waits for its first line. `folder` is its argument.
    pub fn start(python: &Path, program: &str, folder: &Path) -> Peer {
        let log = folder.join("peer.log");
        let mut child = Command::new(python)
            .args(["-u", "-c", program])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut peer = Peer {
            child,
            lines,
            log,
            at: Value::Null,
        };
        peer.at = peer.next();
        peer
    }

    /// The next thing that it says.
    pub fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|error| {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            panic!("the program says nothing: {error}\n{log}")
        })
    }

    /// Whether it has said nothing since.
    pub fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python with a mail server and an authority that signs certificates.
pub fn python() -> PathBuf {
    crate::support::python(
        "python-aiosmtpd-1.4.6",
        &["aiosmtpd==1.4.6", "trustme==1.2.1"],
    )
}
