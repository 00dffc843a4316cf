//! One watched process: its sampler, its past, its clocks.

use crate::history::{Keep, ProcessHistory, ServiceHistory, View};
use crate::identity::Identity;
use crate::peek::{Peek, PeekProcess};
use crate::sample::process::ProcessSampler;
use crate::sample::{Facts, Sampler};
use crate::trigger::{Armed, Fired, Watch};
use leakhound_archive::manifest::SamplePoint;
use std::time::{Duration, Instant};
use tracing::debug;

/// Samples per fact that a manifest keeps.
const MANIFEST_SAMPLES: usize = 120;
/// Wait before a process that could not be peeked into is tried again.
const PEEK_RETRY: Duration = Duration::from_secs(60);

/// Live managed values of one process.
enum Peeking {
    /// No trigger asks for them.
    NotWanted,
    /// To be tried at this moment.
    Due(Instant),
    Open(Box<dyn PeekProcess>),
}

/// A service as the configuration describes it, ready to work.
#[derive(Debug)]
pub struct Plan {
    /// Triggers.
    pub triggers: Vec<Armed>,
    /// Facts whose past is kept.
    pub keep: Keep,
    /// Some trigger names a `managed.*` fact.
    pub wants_peek: bool,
    /// Some trigger names a fact that is otherwise read less often.
    pub wants_slow: bool,
    /// How often a process is sampled.
    pub every: Duration,
}

/// One watched process.
pub struct Target {
    /// Who it is.
    pub identity: Identity,
    /// Index of its service in the configuration.
    pub service: usize,
    /// Name it is archived under.
    pub name: String,
    /// When the next sample is due.
    pub due: Instant,
    /// The last sample.
    pub facts: Facts,
    sampler: ProcessSampler,
    recent: ProcessHistory,
    watch: Watch,
    peeking: Peeking,
}

impl Target {
    /// Starts to watch a process.
    ///
    /// # Errors
    /// It is gone or may not be read.
    pub fn open(
        identity: Identity,
        service: usize,
        name: String,
        plan: &Plan,
        sampler: &mut Sampler,
        now: Instant,
    ) -> std::io::Result<Self> {
        let mut process = sampler.open(&identity)?;
        if plan.wants_slow {
            process.read_all_each_time();
        }
        Ok(Self {
            sampler: process,
            identity,
            service,
            name,
            due: now,
            facts: Facts::default(),
            recent: ProcessHistory::default(),
            watch: Watch::new(&plan.triggers),
            peeking: if plan.wants_peek {
                Peeking::Due(now)
            } else {
                Peeking::NotWanted
            },
        })
    }

    /// Takes over the past of the same process under an earlier configuration.
    pub fn inherit(&mut self, earlier: Self) {
        if earlier.identity.start_ticks == self.identity.start_ticks && earlier.name == self.name {
            self.recent = earlier.recent;
        }
    }

    /// Takes a sample. False when the process is gone.
    pub fn sample(
        &mut self,
        plan: &Plan,
        sampler: &mut Sampler,
        peek: Option<&dyn Peek>,
        long: &mut ServiceHistory,
        now: Instant,
        now_ms: i64,
    ) -> bool {
        if !sampler.sample(&mut self.sampler, now, &mut self.facts) {
            return false;
        }
        self.peek(peek, now);
        self.recent.add(&plan.keep.recent, &self.facts, now_ms);
        long.add(&plan.keep.long, &self.facts, now_ms);
        let left = self.recent.time_to_limit(&self.facts);
        self.facts.set_some("time_to_limit", left);
        // A collector that was held up does not sample twice to catch up.
        self.due = (self.due + plan.every).max(now);
        true
    }

    fn peek(&mut self, peek: Option<&dyn Peek>, now: Instant) {
        if let (Peeking::Due(at), Some(peek)) = (&self.peeking, peek)
            && now >= *at
        {
            self.peeking = match peek.open(&self.identity) {
                Ok(open) => Peeking::Open(open),
                Err(reason) => {
                    debug!(
                        pid = self.identity.pid,
                        reason, "Live managed values cannot be read"
                    );
                    Peeking::Due(now + PEEK_RETRY)
                }
            };
        }
        if let Peeking::Open(process) = &mut self.peeking {
            process.read(&mut self.facts);
        }
    }

    /// The trigger that holds now, if any. Call once per sample.
    pub fn check(&mut self, plan: &Plan, long: &ServiceHistory, now_ms: i64) -> Option<Fired> {
        let view = View {
            now: &self.facts,
            now_ms,
            recent: &self.recent,
            long,
        };
        self.watch
            .check(&plan.triggers, &view, u64::try_from(now_ms).unwrap_or(0))
    }

    /// Recent samples of the facts that a trigger read, for the manifest.
    #[must_use]
    pub fn samples(&self, fired: &Fired, now_ms: i64) -> Vec<SamplePoint> {
        let mut out = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for evidence in &fired.decision.evidence {
            let fact = evidence.fact.as_str();
            if seen.contains(&fact) {
                continue;
            }
            seen.push(fact);
            let all: Vec<_> = self.recent.samples(fact).collect();
            let from = all.len().saturating_sub(MANIFEST_SAMPLES);
            out.extend(all[from..].iter().map(|(at, value)| SamplePoint {
                age_ms: u64::try_from(now_ms - at).unwrap_or(0),
                fact: fact.to_owned(),
                value: *value,
            }));
        }
        out
    }
}
