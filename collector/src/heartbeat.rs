//! Whether the thread that watches still goes round: what a service manager's watchdog is told stands on it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest that the thread that watches waits before it beats again.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Beats of the thread that watches.
#[derive(Debug)]
pub struct Heartbeat {
    born: Instant,
    /// Milliseconds from the birth to the last beat.
    last_ms: AtomicU64,
    watched: AtomicUsize,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            last_ms: AtomicU64::new(0),
            watched: AtomicUsize::new(0),
        }
    }
}

impl Heartbeat {
    /// The thread goes round, and watches so many processes.
    pub(crate) fn beat(&self, watched: usize) {
        let age = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(age, Ordering::Relaxed);
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// Time since the last beat.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(last)
    }

    /// Processes that are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_with_a_beat() {
        let heart = Heartbeat::default();
        std::thread::sleep(Duration::from_millis(50));
        let before = heart.silence();
        assert!(before >= Duration::from_millis(50), "{before:?}");
        heart.beat(3);
        assert!(heart.silence() < before + Duration::from_millis(1));
        assert_eq!(heart.watched(), 3);
    }
}
