//! What all samples of one moment share on Windows: memory of the machine, and the list of all processes.

use super::Facts;
use crate::discover::identity;
use crate::windows::commit;

/// Read once a moment.
#[derive(Debug)]
pub struct Node {
    memory: Option<(f64, f64)>,
    threads: Vec<(u32, u32)>,
}

impl Node {
    pub(super) fn open() -> Self {
        let mut node = Self {
            memory: None,
            threads: Vec::new(),
        };
        node.refresh();
        node
    }

    pub(super) fn refresh(&mut self) {
        self.memory =
            commit::status().map(|now| (now.ullTotalPhys as f64, now.ullAvailPhys as f64));
        self.threads = identity::table();
    }

    /// Threads of a process.
    pub(super) fn threads(&self, pid: u32) -> Option<f64> {
        let at = self.threads.binary_search_by_key(&pid, |(pid, _)| *pid);
        Some(f64::from(self.threads[at.ok()?].1))
    }

    pub(super) fn sample(&self, facts: &mut Facts) {
        facts.set_some("node.memory", self.memory.map(|(total, _)| total));
        facts.set_some(
            "node.available",
            self.memory.map(|(_, available)| available),
        );
    }
}
