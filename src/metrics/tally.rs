//! What the collector's events add up to since the agent began.

use leakhound_collector::collector::Event;
use std::collections::BTreeMap;

/// Captures of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captures {
    /// Sealed and enqueued.
    pub n_taken: u64,
    /// Begun, and failed.
    pub n_failed: u64,
    /// Held back by a limit, each reason once.
    pub n_held: u64,
}

/// Counts by service. A service that was seen once stays, so that its figures fall to zero and do not vanish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    watched: BTreeMap<u32, String>,
    captures: BTreeMap<String, Captures>,
    n_adopted: u64,
}

impl Tally {
    /// Takes an event in; whether it changed the archive.
    pub fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Watching { service, pid } => {
                self.of(&service);
                self.watched.insert(pid, service);
            }
            Event::Gone { pid, .. } => {
                self.watched.remove(&pid);
            }
            Event::Held { service, .. } => self.of(&service).n_held += 1,
            Event::Failed { service, .. } => self.of(&service).n_failed += 1,
            Event::Captured { service, .. } => {
                self.of(&service).n_taken += 1;
                return true;
            }
            Event::Adopted { .. } => {
                self.n_adopted += 1;
                return true;
            }
            _ => {}
        }
        false
    }

    fn of(&mut self, service: &str) -> &mut Captures {
        self.captures.entry(service.to_owned()).or_default()
    }

    /// Processes that are watched, by service.
    pub fn watched(&self) -> BTreeMap<&str, u64> {
        let mut counts: BTreeMap<&str, u64> =
            self.captures.keys().map(|s| (s.as_str(), 0)).collect();
        for service in self.watched.values() {
            *counts.entry(service).or_default() += 1;
        }
        counts
    }

    /// Captures, by service.
    pub fn captures(&self) -> &BTreeMap<String, Captures> {
        &self.captures
    }

    /// Dumps of others that were taken in.
    pub fn n_adopted(&self) -> u64 {
        self.n_adopted
    }
}
