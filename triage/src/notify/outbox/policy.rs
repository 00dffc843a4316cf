//! When to try again and when to stop: numbers and arithmetic, nothing else.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The numbers of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After the first failure.
    pub first_wait: Duration,
    /// The wait doubles with each failure, up to this.
    pub longest_wait: Duration,
    /// How long one message's failure keeps the others of its destination waiting, unless the other side asks for more.
    pub hold_limit: Duration,
    /// From planning to the dead letter.
    pub give_up_after: Duration,
    /// How long delivered messages and dead letters are remembered, so that nothing is said twice.
    pub remember: Duration,
    /// Messages that wait, over all destinations.
    pub waiting_limit: u64,
    /// Messages to one destination in one round.
    pub round_limit: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            first_wait: Duration::from_secs(15),
            longest_wait: Duration::from_secs(3600),
            hold_limit: Duration::from_secs(300),
            give_up_after: Duration::from_secs(3 * 86_400),
            remember: Duration::from_secs(90 * 86_400),
            waiting_limit: 10_000,
            round_limit: 100,
        }
    }
}

/// Failures after which a pause that the other side names no longer shortens ours: one that always says "in a second"
/// would otherwise be asked every second for days.
const TRUSTED_PAUSES: u32 = 3;

impl Policy {
    /// How long to wait after the `n_attempts`th failure: exponential, spread by a fifth in both directions, and never
    /// shorter than the other side asked for.
    ///
    /// The spread comes from the key, so that forty nodes do not come back in the same second, and a test can predict it.
    #[must_use]
    pub fn wait(&self, key: &str, n_attempts: u32, asked: Option<Duration>) -> Duration {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(key.as_bytes())
            .update(&n_attempts.to_le_bytes());
        let spread = f64::from(hasher.finalize().as_bytes()[0]) / 255.0;
        let doublings = n_attempts.saturating_sub(1).min(30);
        let exponential = self.first_wait.as_secs_f64() * f64::from(1u32 << doublings);
        let own = exponential.min(self.longest_wait.as_secs_f64()) * (0.8 + 0.4 * spread);
        let seconds = match asked.map(|asked| asked.as_secs_f64()) {
            // Never early: the spread of a named pause only adds to it.
            Some(asked) if n_attempts <= TRUSTED_PAUSES => asked + asked.min(10.0) * 0.1 * spread,
            Some(asked) => own.max(asked),
            None => own,
        };
        Duration::from_secs_f64(seconds)
    }
}

/// `time` moved into the future; the end of time stays where it is.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// `time` moved into the past.
pub(super) fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_within_their_spread() {
        let policy = Policy::default();
        for n_attempts in 1..40 {
            let ideal = (15.0 * 2f64.powi(n_attempts as i32 - 1)).min(3600.0);
            for key in ["a", "b", "c"] {
                let wait = policy.wait(key, n_attempts, None).as_secs_f64();
                assert!(
                    (0.8 * ideal - 1e-6..=1.2 * ideal + 1e-6).contains(&wait),
                    "{n_attempts}: {wait} of {ideal}"
                );
            }
        }
        assert_ne!(policy.wait("a", 5, None), policy.wait("b", 5, None));
    }

    #[test]
    fn a_named_pause_is_kept_and_in_the_end_not_trusted() {
        let policy = Policy::default();
        for n_attempts in 1..20 {
            for asked in [0, 1, 120, 7200] {
                let asked = Duration::from_secs(asked);
                assert!(policy.wait("k", n_attempts, Some(asked)) >= asked);
            }
        }
        assert!(policy.wait("k", 1, Some(Duration::from_secs(1))) < Duration::from_secs(2));
        assert!(policy.wait("k", 10, Some(Duration::from_secs(1))) > Duration::from_secs(600));
    }

    #[test]
    fn time_has_ends() {
        assert_eq!(
            later(Timestamp::MAX, Duration::from_secs(9)),
            Timestamp::MAX
        );
        assert_eq!(earlier(Timestamp::MIN, Duration::MAX), Timestamp::MIN);
    }
}
