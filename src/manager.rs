//! The service manager (systemd): whether the agent is ready, alive, reading its configuration again, or stopping, and a line on how
//! it stands. sd_notify(3), sd_watchdog_enabled(3). Where there is no manager nobody is told.

use leakhound_collector::heartbeat::{BEAT_EVERY, Heartbeat};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the line is looked at where no watchdog waits.
const LOOK: Duration = Duration::from_secs(10);

/// What the service manager is told.
pub struct Manager {
    heartbeat: Arc<Heartbeat>,
    /// The configuration on disk is not the one in force.
    is_refused: AtomicBool,
}

impl Manager {
    pub fn new(heartbeat: Arc<Heartbeat>) -> Self {
        Self {
            heartbeat,
            is_refused: AtomicBool::new(false),
        }
    }

    /// The agent works.
    pub fn ready(&self) {
        tell(&format!("READY=1\nSTATUS={}", self.status()));
    }

    /// The configuration is being read again; [`Self::reloaded`] ends it.
    pub fn reloading(&self) {
        tell(&format!("RELOADING=1{}", moment()));
    }

    /// The configuration was read again, and is in force if it `is_good`.
    pub fn reloaded(&self, is_good: bool) {
        self.is_refused.store(!is_good, Ordering::Relaxed);
        self.ready();
    }

    /// The agent ends.
    pub fn stopping(&self) {
        tell("STOPPING=1\nSTATUS=Stopping: captures get a moment to finish");
    }

    /// Feeds the watchdog for as long as the thread that watches goes round: when that hangs, the manager starts the agent anew.
    pub async fn pulse(&self, ended: CancellationToken) {
        let limit = watchdog();
        let every = limit.map_or(LOOK, |limit| limit / 3);
        let mut told = self.status();
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            if limit.is_some_and(|limit| self.heartbeat.silence() < (limit / 2).max(2 * BEAT_EVERY))
            {
                tell("WATCHDOG=1");
            }
            let status = self.status();
            if status != told {
                tell(&format!("STATUS={status}"));
                told = status;
            }
        }
    }

    fn status(&self) -> String {
        let watched = match self.heartbeat.watched() {
            1 => "Watching 1 process".to_owned(),
            n => format!("Watching {n} processes"),
        };
        if self.is_refused.load(Ordering::Relaxed) {
            watched
                + "; the configuration on disk is refused (the log says why), the last good one is in force"
        } else {
            watched
        }
    }
}

/// How long the manager waits for a sign of life.
#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

#[cfg(not(target_os = "linux"))]
fn watchdog() -> Option<Duration> {
    None
}

/// The moment, which newer managers want to know of a reload.
fn moment() -> String {
    #[cfg(target_os = "linux")]
    if let Ok(moment) = sd_notify::NotifyState::monotonic_usec_now() {
        return format!("\n{moment}");
    }
    String::new()
}

fn tell(words: &str) {
    #[cfg(target_os = "linux")]
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Custom(words)]);
    #[cfg(not(target_os = "linux"))]
    let _ = words;
}
