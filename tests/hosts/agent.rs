//! A running agent, with what it says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A busy machine is no reason to fail.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts `program` as the agent, with its files in `folder`.
    pub fn start(
        program: &Path,
        folder: &Path,
        config: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(["run", "--config"])
            .arg(config)
            // Captures of other tests do not hold it up.
            .env("RUNTIME_DIRECTORY", folder.join("run"))
            .envs(environment.iter().copied());
        Self::spawn(command, folder)
    }

    /// Starts an agent by `command`; its log is a file in `folder`.
    pub fn spawn(mut command: Command, folder: &Path) -> Self {
        let log = folder.join("log");
        let child = command
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("the log can be made"))
            .spawn()
            .expect("the program starts");
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child of ours that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until something is true.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "{what}: not in time\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn end(mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
