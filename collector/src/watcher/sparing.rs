//! A primary whose trigger holds waits for a secondary of its partition to be captured in its place.

use super::Watcher;
use crate::collector::Event;
use crate::spare;
use crate::trigger::Fired;
use leakhound_rules::units::format_ratio;
use tracing::info;

/// A trigger that did not hold for so long begins a new wait when it holds again.
const FORGOTTEN_MS: i64 = 60_000;
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

/// What became of a primary's wish to be captured.
pub(super) struct Sparing {
    partitions: Vec<String>,
    /// Until when it waits; once it is spared, until when.
    until_ms: i64,
    is_spared: bool,
    /// When its trigger held last.
    held_ms: i64,
}

impl Watcher {
    /// Whether a capture is let go, or put off, since a secondary's may take its place. Never for long, and never with a limit near.
    pub(super) fn is_spared(&mut self, pid: u32, fired: &Fired, now_ms: i64) -> bool {
        let Some(patience_ms) = self.board.patience_ms() else {
            self.sparing.clear();
            return false;
        };
        let Some(target) = self.targets.get(&pid) else {
            return false;
        };
        let partitions = target
            .identity
            .fabric
            .as_ref()
            .map(spare::primaries)
            .unwrap_or_default();
        let known = self.sparing.get(&pid).filter(|sparing| {
            // After a failover, or long after, it is another matter.
            sparing.partitions == partitions
                && (sparing.is_spared || now_ms - sparing.held_ms < FORGOTTEN_MS)
                && (!sparing.is_spared || now_ms < sparing.until_ms)
        });
        if partitions.is_empty() || self.has_no_time(pid, fired) {
            self.stop_sparing(pid);
            return false;
        }
        let (until_ms, is_spared) = match known {
            Some(known) => (known.until_ms, known.is_spared),
            None => {
                let until_ms = now_ms.saturating_add_unsigned(patience_ms);
                self.board.forget(&partitions);
                self.board.ask(&partitions, until_ms);
                info!(pid, service = %target.name, trigger = %fired.name, patience_ms, "Trigger holds; a secondary is captured in place of this primary if one shows the same");
                (until_ms, false)
            }
        };
        let captured_on = self.board.captured_on(&partitions).filter(|_| !is_spared);
        let mut sparing = Sparing {
            partitions,
            until_ms,
            is_spared,
            held_ms: now_ms,
        };
        if let Some(node) = captured_on {
            sparing.is_spared = true;
            sparing.until_ms = self.spare(pid, fired, &node, now_ms);
        } else if !is_spared && now_ms >= until_ms {
            info!(pid, trigger = %fired.name, "No secondary was captured; the primary is");
            self.board.forget(&sparing.partitions);
            self.sparing.remove(&pid);
            return false;
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
        let partitions = target.identity.fabric.as_ref().map(spare::primaries);
        self.board.forget(&partitions.unwrap_or_default());
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
            self.board.forget(&sparing.partitions);
        }
    }
}
