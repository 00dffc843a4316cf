//! A primary whose trigger holds waits for a secondary of its partition to be captured in its place.

use super::Watcher;
use crate::collector::Event;
use crate::spare;
use crate::trigger::Fired;
use leakhound_rules::units::format_ratio;
use std::time::Duration;
use tracing::info;

/// A trigger that did not hold for so long, or for so many samples, begins a new wait when it holds again.
const FORGOTTEN: Duration = Duration::from_secs(60);
const FORGOTTEN_SAMPLES: u32 = 3;
/// From this share of its limit on a process may be gone before a wait is over.
const NO_TIME: f64 = 0.9;
/// Facts of a process that is about to run into a limit: a trigger that reads one of them does not wait.
const URGENT: &[&str] = &[
    "limit_share",
    "time_to_limit",
    "memory_pressure",
    "memory_pressure.full",
    "node.memory_pressure",
];

/// A primary that waits, or is spared.
pub(super) struct Sparing {
    partitions: Vec<String>,
    /// Until when it waits; once it is spared, until when.
    until_ms: i64,
    is_spared: bool,
    /// When its trigger held last.
    held_ms: i64,
}

impl Sparing {
    fn begin(partitions: Vec<String>, patience_ms: u64, now_ms: i64) -> Self {
        Self {
            partitions,
            until_ms: now_ms.saturating_add_unsigned(patience_ms),
            is_spared: false,
            held_ms: now_ms,
        }
    }

    /// Whether this is still the same matter: not after a failover, not once it was spared for long enough, and not when its trigger
    /// had stopped to hold. The process is sampled each `every`.
    fn lasts(&self, partitions: &[String], every: Duration, now_ms: i64) -> bool {
        let forgotten = FORGOTTEN.max(every * FORGOTTEN_SAMPLES).as_millis();
        let quiet_ms = u128::from(now_ms.saturating_sub(self.held_ms).unsigned_abs());
        self.partitions == partitions
            && if self.is_spared {
                now_ms < self.until_ms
            } else {
                quiet_ms < forgotten
            }
    }
}

impl Watcher {
    /// Whether a capture is let go, or put off, since a secondary's may take its place. Never for long, and never with a limit near.
    pub(super) fn is_spared(&mut self, pid: u32, fired: &Fired, now_ms: i64) -> bool {
        let (Some(patience_ms), Some(target)) =
            (self.notices.patience_ms(), self.targets.get(&pid))
        else {
            self.stop_sparing(pid);
            return false;
        };
        let fabric = target.identity.fabric.as_ref();
        let partitions = fabric.map(spare::primaries).unwrap_or_default();
        if partitions.is_empty() || self.has_no_time(pid, fired) {
            self.stop_sparing(pid);
            return false;
        }
        let every = self.plans[target.service].every;
        let known = self.sparing.remove(&pid);
        let mut sparing = known
            .filter(|known| known.lasts(&partitions, every, now_ms))
            .unwrap_or_else(|| {
                info!(pid, service = %target.name, trigger = %fired.name, patience_ms, "Trigger holds; a secondary is captured in place of this primary if one shows the same");
                let begun = Sparing::begin(partitions, patience_ms, now_ms);
                self.notices.forget(&begun.partitions);
                self.notices.ask(&begun.partitions, begun.until_ms);
                begun
            });
        sparing.held_ms = now_ms;
        if !sparing.is_spared {
            if let Some(node) = self.notices.captured_on(&sparing.partitions) {
                sparing.until_ms = self.spare(pid, fired, &node, now_ms);
                sparing.is_spared = true;
                self.notices.forget(&sparing.partitions);
            } else if now_ms >= sparing.until_ms {
                info!(pid, trigger = %fired.name, "No secondary was captured; the primary is");
                self.notices.forget(&sparing.partitions);
                return false;
            }
        }
        self.sparing.insert(pid, sparing);
        true
    }

    /// A secondary's capture counts as one of the primary: its steps are taken, its cool-down begins. Gives the end of that.
    fn spare(&mut self, pid: u32, fired: &Fired, node: &str, now_ms: i64) -> i64 {
        let Some(target) = self.targets.get_mut(&pid) else {
            return now_ms;
        };
        target.begun(fired.clone());
        target.captured(&self.plans[target.service]);
        let cooldown_ms = self.config.service[target.service].cooldown.as_ms();
        let reason = format!("a secondary of it was captured on {node}, so the primary is spared");
        info!(pid, service = %target.name, trigger = %fired.name, reason, "Trigger holds, no capture");
        let _ = self.events.send(Event::Held {
            service: target.name.clone(),
            pid,
            trigger: fired.name.clone(),
            reason,
        });
        now_ms.saturating_add_unsigned(cooldown_ms)
    }

    fn has_no_time(&self, pid: u32, fired: &Fired) -> bool {
        let Some(target) = self.targets.get(&pid) else {
            return false;
        };
        let share = target.facts.get("limit_share");
        if let Some(share) = share.filter(|share| *share >= NO_TIME) {
            info!(pid, service = %target.name, limit_share = %format_ratio(share), "Too near its limit to wait for a secondary");
            return true;
        }
        let trigger = self.plans[target.service].triggers.get(fired.index);
        trigger.is_some_and(|armed| {
            let facts = armed.trigger.facts();
            facts.iter().any(|fact| URGENT.contains(&fact.name))
        })
    }

    /// It waits no more.
    pub(super) fn stop_sparing(&mut self, pid: u32) {
        if let Some(sparing) = self.sparing.remove(&pid) {
            self.notices.forget(&sparing.partitions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_trigger_and_outlasts_the_longest_pause_between_samples() {
        let p1 = ["p1".to_owned()];
        let wait = Sparing::begin(p1.to_vec(), 30_000, 0);
        let lasts = |every_s, now_ms| wait.lasts(&p1, Duration::from_secs(every_s), now_ms);
        assert!(lasts(5, 5_000) && lasts(5, 59_000));
        assert!(!lasts(5, 60_000));
        // Sampled every five minutes it was quiet for one pause, not for ever: or it would wait anew each time.
        assert!(lasts(300, 300_000) && !lasts(300, 900_000));
        assert!(!wait.lasts(&["p2".to_owned()], FORGOTTEN, 1));
        let spared = Sparing {
            is_spared: true,
            until_ms: 3_600_000,
            ..wait
        };
        let lasts = |now_ms| spared.lasts(&p1, Duration::from_secs(5), now_ms);
        assert!(lasts(3_599_999) && !lasts(3_600_000));
    }
}
