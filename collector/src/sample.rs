//! Live facts of a process under their vocabulary names, cheap enough for fifty processes each second.
//!
//! *What is read.* Every sample reads one small file through a descriptor that stays open: `statm` (sizes). Every five
//! seconds it also reads `stat` (processor time, threads), `status` (swap, commit, the split of resident memory) and the number of
//! descriptors, which cost the kernel ten times as much. The use of a cgroup is read once for all processes of it, and
//! its limits every ten seconds. A trigger that names one of the slower facts makes them be read each time. Processes that
//! are sampled at one pace are sampled at the same moment, so that the agent wakes once for all of them. A descriptor belongs to the process it was opened for: when that ends, the read fails, so a
//! reused id is never mistaken for the old process.
//!
//! *Private bytes.* Resident memory that is backed by no file, plus swap (`RssAnon + VmSwap`). It leaves out private copies of clean file pages,
//! which the kernel can drop, and counts anonymous pages that a fork still shares. The exact figure
//! (`Private_Clean + Private_Dirty + Swap` of `smaps_rollup`) makes the kernel walk every page table under a
//! lock that the process needs to map memory: milliseconds per gigabyte, so it is not taken each second.
//! The whole map with exact sizes is taken once, at capture time, and lies in the manifest.
//!
//! *Windows* keeps all of this in counters of the process, which a handle gives in microseconds: private usage, working set,
//! handles, times. Threads come from one list of all processes a moment.

#[cfg(target_os = "linux")]
pub mod cgroup;
pub mod limit;
#[cfg_attr(windows, path = "windows/machine.rs")]
pub mod node;
#[cfg(target_os = "linux")]
mod pressure;
#[cfg_attr(windows, path = "windows/process_sampler.rs")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod sockets;

use crate::identity::Identity;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Facts that are read every five seconds unless a trigger names one of them.
pub const SLOW: &[&str] = &["fds", "rss.file", "rss.shared", "swap", "commit"];
/// The same, of another file.
pub const LOAD: &[&str] = &["cpu", "cpu.machine", "threads"];

/// Facts by vocabulary name, in the vocabulary's units.
///
/// A small sorted list: two dozen names, built once a second, searched a few times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(Vec<(&'static str, f64)>);

impl Facts {
    /// Adds or replaces a value; one that is not finite is left out.
    pub fn set(&mut self, name: &'static str, value: f64) {
        if !value.is_finite() {
            return;
        }
        match self.0.binary_search_by_key(&name, |(n, _)| n) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Adds a value if there is one.
    pub fn set_some(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// The value of a fact; `None` when it could not be read.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let at = self.0.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
        Some(self.0[at].1)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.0.iter().copied()
    }

    /// For the manifest.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, f64> {
        self.iter().map(|(n, v)| (n.to_owned(), v)).collect()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// What all samples of one moment share.
#[derive(Debug)]
pub struct Sampler {
    #[cfg(target_os = "linux")]
    groups: cgroup::Groups,
    node: node::Node,
    /// Where the moments of all paces begin.
    epoch: Instant,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            groups: cgroup::Groups::new(cgroup::Mounts::find()),
            node: node::Node::open(),
            epoch: Instant::now(),
        }
    }
}

impl Sampler {
    /// A sampler for the cgroup file systems at `mounts`.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn new(mounts: cgroup::Mounts) -> Self {
        Self {
            groups: cgroup::Groups::new(mounts),
            node: node::Node::open(),
            epoch: Instant::now(),
        }
    }

    /// Begins a moment: what is shared by processes is read again when next asked for.
    pub fn begin(&mut self) {
        #[cfg(target_os = "linux")]
        self.groups.begin();
        self.node.refresh();
    }

    /// The next moment of a pace after `now`: the same for all processes that are sampled at it, and never so soon that
    /// what is measured between two samples would be noise.
    #[must_use]
    pub fn next(&self, every: Duration, now: Instant) -> Instant {
        let nanos = every.as_nanos().max(1);
        let past = now.saturating_duration_since(self.epoch) + every / 2;
        let left = nanos - past.as_nanos() % nanos;
        now + every / 2 + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// Starts to watch a process.
    ///
    /// # Errors
    /// It is gone or may not be read.
    pub fn open(&mut self, identity: &Identity) -> std::io::Result<process::ProcessSampler> {
        process::ProcessSampler::open(identity)
    }

    /// Fills `facts` with the facts of a process now. False when it is gone.
    pub fn sample(
        &mut self,
        process: &mut process::ProcessSampler,
        now: Instant,
        facts: &mut Facts,
    ) -> bool {
        facts.clear();
        if !process.sample(now, facts) {
            return false;
        }
        #[cfg(target_os = "linux")]
        self.groups.sample(process.cgroup(), now, facts);
        #[cfg(windows)]
        facts.set_some("threads", self.node.threads(process.pid()));
        self.node.sample(facts);
        true
    }

    /// Forgets cgroups that no process uses any more.
    pub fn retain(&mut self, in_use: &dyn Fn(&str) -> bool) {
        #[cfg(target_os = "linux")]
        self.groups.retain(in_use);
        #[cfg(windows)]
        let _ = in_use;
    }
}

/// One sample of one process, for one-shot commands.
///
/// # Errors
/// It is gone or may not be read.
pub fn once(identity: &Identity) -> std::io::Result<Facts> {
    let mut sampler = Sampler::default();
    let mut process = sampler.open(identity)?;
    let mut facts = Facts::default();
    sampler.begin();
    if sampler.sample(&mut process, Instant::now(), &mut facts) {
        Ok(facts)
    } else {
        Err(crate::discover::identity::gone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_fact_has_a_live_name_of_the_vocabulary() {
        let me = crate::discover::one(std::process::id()).unwrap();
        let facts = once(&me).unwrap();
        for (name, _) in facts.iter() {
            let fact = leakhound_rules::vocabulary::fact_named(name);
            assert!(
                fact.is_some_and(|f| f.scope == leakhound_rules::vocabulary::Scope::Live),
                "{name}"
            );
        }
        for name in [
            "private_bytes",
            "rss",
            "rss.anonymous",
            "swap",
            "commit",
            "threads",
            "fds",
            "uptime",
            "node.memory",
        ] {
            assert!(facts.get(name).is_some(), "{name} is missing");
        }
    }

    #[test]
    fn memory_that_is_touched_appears_and_processor_time_is_seen() {
        let me = crate::discover::one(std::process::id()).unwrap();
        let mut sampler = Sampler::default();
        let mut process = sampler.open(&me).unwrap();
        let (mut before, mut after) = (Facts::default(), Facts::default());
        let started = Instant::now();
        assert!(sampler.sample(&mut process, started, &mut before));
        let block = vec![1_u8; 256 << 20];
        while started.elapsed().as_millis() < 200 {
            std::hint::black_box(&block);
        }
        sampler.begin();
        assert!(sampler.sample(&mut process, Instant::now(), &mut after));
        let grown = after.get("private_bytes").unwrap() - before.get("private_bytes").unwrap();
        assert!((150e6..400e6).contains(&grown), "{grown}");
        assert!(before.get("cpu").is_none() && after.get("cpu").unwrap() > 0.02);
    }

    #[test]
    fn processes_of_one_pace_meet() {
        let sampler = Sampler::default();
        let every = Duration::from_secs(1);
        let at = |ms: u64| sampler.epoch + Duration::from_millis(ms);
        assert_eq!(sampler.next(every, at(0)), at(1_000));
        assert_eq!(sampler.next(every, at(300)), at(1_000));
        assert_eq!(sampler.next(every, at(1_000)), at(2_000));
        assert_eq!(sampler.next(every, at(1_001)), at(2_000));
        assert_eq!(sampler.next(every, at(1_900)), at(3_000), "too soon");
        assert_eq!(
            sampler.next(Duration::ZERO, at(7)),
            at(7) + Duration::from_nanos(1)
        );
    }

    #[test]
    fn a_process_that_ended_gives_no_sample() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let who = crate::discover::one(child.id()).unwrap();
        let mut sampler = Sampler::default();
        let mut process = sampler.open(&who).unwrap();
        let mut facts = Facts::default();
        assert!(sampler.sample(&mut process, Instant::now(), &mut facts));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!sampler.sample(&mut process, Instant::now(), &mut facts));
    }
}
