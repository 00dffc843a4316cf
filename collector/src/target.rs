//! One watched process: its sampler, its past, its clocks.

use crate::config::ServiceConfig;
use crate::counters::{Counters, Unknown};
use crate::history::{Keep, ProcessHistory, Reasons, ServiceHistory, View};
use crate::identity::Identity;
use crate::peek::{self, Peek, PeekProcess};
use crate::sample::process::ProcessSampler;
use crate::sample::{Facts, Sampler};
use crate::siblings::Siblings;
use crate::trigger::{self, Armed, Fired, Watch};
use leakhound_archive::manifest::SamplePoint;
use leakhound_rules::vocabulary::Counter;
use leakhound_rules::{Decision, History, Reading, Statistic, Trigger};
use std::time::{Duration, Instant};
use tracing::{debug, error};

/// Samples per fact that a manifest keeps.
const MANIFEST_SAMPLES: usize = 120;
/// Wait before a process that could not be peeked into is tried again, for the first time: a process that has just
/// started has no runtime yet. Doubled each time.
const PEEK_RETRY: Duration = Duration::from_secs(2);
/// Longest such wait.
const PEEK_RETRY_MOST: Duration = Duration::from_secs(60);
/// Peeks in a row that may give nothing before the process is looked at anew.
const PEEK_FAILURES: u32 = 10;

/// Live managed values of one process.
enum Peeking {
    /// No trigger asks for them.
    NotWanted,
    /// To be tried at this moment; then after this wait.
    Due { at: Instant, wait: Duration },
    Open {
        process: Box<dyn PeekProcess>,
        failures: u32,
    },
}

/// Shortest past from which a rate is shown.
const RATE_MIN_MS: u64 = 10_000;

/// What a process is judged against besides its own samples.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The moment, in milliseconds since 1970.
    pub now_ms: i64,
    /// The past of its service.
    pub long: &'a ServiceHistory,
    /// All processes at this moment.
    pub siblings: &'a Siblings,
}

impl Past<'_> {
    fn clock_ms(&self) -> u64 {
        u64::try_from(self.now_ms).unwrap_or(0)
    }
}

/// A service as the configuration describes it, ready to work.
#[derive(Debug)]
pub struct Plan {
    /// Triggers.
    pub triggers: Vec<Armed>,
    /// Facts whose past is kept.
    pub keep: Keep,
    /// Facts that some trigger compares with those of sibling processes.
    pub siblings: Vec<&'static str>,
    /// The `managed.*` facts that triggers name; nothing else is looked at in the running process.
    pub peeks: Vec<&'static str>,
    /// The counters of the program that triggers name.
    pub counters: Vec<&'static Counter>,
    /// The facts that triggers name: they are fresh in every sample.
    pub named: Vec<&'static str>,
    /// How often a process is sampled.
    pub every: Duration,
}

impl Plan {
    /// What a service needs whose triggers were checked.
    #[must_use]
    pub fn new(triggers: Vec<Armed>, every: Duration) -> Self {
        let parsed: Vec<Trigger> = triggers.iter().map(|t| t.trigger.clone()).collect();
        let mut named: Vec<&'static str> = Vec::new();
        for fact in parsed.iter().flat_map(Trigger::facts) {
            if !named.contains(&fact.name) {
                named.push(fact.name);
            }
        }
        let mut counters: Vec<&'static Counter> =
            parsed.iter().flat_map(Trigger::counters).collect();
        counters.sort_unstable_by_key(|counter| counter.fact.name);
        counters.dedup_by_key(|counter| counter.fact.name);
        let mut siblings: Vec<&'static str> =
            parsed.iter().flat_map(Trigger::sibling_facts).collect();
        siblings.sort_unstable();
        siblings.dedup();
        Self {
            keep: Keep::of(&parsed),
            peeks: named
                .iter()
                .copied()
                .filter(|f| f.starts_with(peek::PREFIX))
                .collect(),
            named,
            counters,
            siblings,
            triggers,
            every,
        }
    }

    /// The plan of a configured service.
    #[must_use]
    pub fn of(service: &ServiceConfig) -> Self {
        let triggers = trigger::arm(&service.triggers()).unwrap_or_else(|fault| {
            // Configurations are checked when they are read; one made by a program may be wrong.
            error!(service = %service.name.text, %fault, "Its triggers are wrong; it is watched without any");
            Vec::new()
        });
        Self::new(triggers, service.every.0)
    }
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
    /// Why live managed values cannot be read.
    blind: Option<String>,
    /// Counters of the program, where a trigger asks for some.
    counters: Option<Counters>,
    /// Those of them that stay unknown.
    unknown: Unknown,
    /// Why facts are unknown in the last sample.
    reasons: Reasons,
    /// Why the last capture began.
    begun: Option<Fired>,
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
        process.read_each_time(&plan.named);
        Ok(Self {
            sampler: process,
            identity,
            service,
            name,
            due: now,
            facts: Facts::default(),
            recent: ProcessHistory::default(),
            watch: Watch::new(&plan.triggers),
            peeking: if plan.peeks.is_empty() {
                Peeking::NotWanted
            } else {
                Peeking::Due {
                    at: now,
                    wait: PEEK_RETRY,
                }
            },
            blind: None,
            counters: None,
            unknown: Unknown::default(),
            reasons: Reasons::new(),
            begun: None,
        })
    }

    /// Takes over the past of the same process under an earlier configuration: `plan` is its service's now, `before`
    /// what it was, where that is known.
    pub fn inherit(&mut self, earlier: Self, plan: &Plan, before: Option<&Plan>) {
        if earlier.identity.start_ticks == self.identity.start_ticks && earlier.name == self.name {
            self.recent = earlier.recent;
            self.begun = earlier.begun;
            self.unknown = earlier.unknown;
            // A session goes on as it is; one that is to read something else is ended, and begun anew with the next sample.
            self.counters = earlier
                .counters
                .filter(|counters| counters.does(&plan.counters, plan.every));
            if let Some(before) = before {
                self.watch
                    .inherit(&plan.triggers, &earlier.watch, &before.triggers);
            }
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
        self.peek(plan, peek, now);
        self.count(plan, now);
        self.recent.add(&plan.keep.recent, &self.facts, now_ms);
        long.add(&plan.keep.long, &self.facts, now_ms);
        let left = self.recent.time_to_limit(&self.facts);
        self.facts.set_some("time_to_limit", left);
        // A collector that was held up does not sample twice to catch up.
        self.due = sampler.next(plan.every, now);
        true
    }

    fn peek(&mut self, plan: &Plan, peek: Option<&dyn Peek>, now: Instant) {
        if let (Peeking::Due { at, wait }, Some(peek)) = (&self.peeking, peek)
            && now >= *at
        {
            match peek.open(&self.identity, &plan.peeks) {
                Ok(process) => {
                    self.blind = None;
                    self.peeking = Peeking::Open {
                        process,
                        failures: 0,
                    };
                }
                Err(reason) => {
                    debug!(
                        pid = self.identity.pid,
                        reason, "Live managed values cannot be read"
                    );
                    self.blind = Some(reason);
                    self.peeking = Peeking::Due {
                        at: now + *wait,
                        wait: (*wait * 2).min(PEEK_RETRY_MOST),
                    };
                }
            }
        }
        if let Peeking::Open { process, failures } = &mut self.peeking {
            if process.read(&mut self.facts) {
                *failures = 0;
                return;
            }
            *failures += 1;
            if *failures == PEEK_FAILURES {
                self.peeking = Peeking::Due {
                    at: now,
                    wait: PEEK_RETRY,
                };
            }
        }
    }

    /// Takes the counters of the program as they came last.
    fn count(&mut self, plan: &Plan, now: Instant) {
        self.reasons.clear();
        if plan.counters.is_empty() {
            return;
        }
        if self.counters.is_none() {
            let begun = match &self.identity.dotnet {
                None => Err(peek::NO_RUNTIME.to_owned()),
                Some(_) => Counters::watch(&self.identity, &plan.counters, plan.every),
            };
            match begun {
                Ok(counters) => self.counters = Some(counters),
                Err(why) => {
                    for counter in &plan.counters {
                        self.reasons.insert(counter.fact.name, why.clone());
                    }
                }
            }
        }
        if let Some(counters) = &self.counters {
            counters.read(&mut self.facts, &mut self.reasons, now);
        }
    }

    /// Counters that turned out to be unknown, each once, and why.
    pub fn news(&mut self, plan: &Plan, now: Instant) -> Vec<(&'static str, String)> {
        self.unknown.news(&self.reasons, plan.every, now)
    }

    /// Why live managed values cannot be read; `None` when they can, or nobody asks.
    #[must_use]
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Tells its siblings what it says.
    pub fn tell(&self, plan: &Plan, siblings: &mut Siblings) {
        siblings.add(&self.name, self.identity.pid, &plan.siblings, &self.facts);
    }

    fn view<'a>(&'a self, past: Past<'a>) -> View<'a> {
        View {
            now: &self.facts,
            now_ms: past.now_ms,
            recent: &self.recent,
            long: past.long,
            others: past.siblings.of(&self.name, self.identity.pid),
            reasons: &self.reasons,
        }
    }

    /// The trigger that holds now, if any. Call once per sample.
    pub fn check(&mut self, plan: &Plan, past: Past<'_>) -> Option<Fired> {
        let mut watch = std::mem::take(&mut self.watch);
        let fired = watch.check(&plan.triggers, &self.view(past), past.clock_ms());
        self.watch = watch;
        fired
    }

    /// What each trigger says now. Call once per sample, instead of [`Self::check`].
    pub fn decide(&mut self, plan: &Plan, past: Past<'_>) -> Vec<Decision> {
        let mut watch = std::mem::take(&mut self.watch);
        let decisions = watch.decide(&plan.triggers, &self.view(past), past.clock_ms());
        self.watch = watch;
        decisions
    }

    /// A capture would begin now because one trigger held.
    pub fn mark_fired(&mut self, plan: &Plan, index: usize, past: Past<'_>) {
        let mut watch = std::mem::take(&mut self.watch);
        watch.mark_fired(&plan.triggers, index, &self.view(past));
        self.watch = watch;
    }

    /// A capture begins because `fired` held.
    pub fn begun(&mut self, fired: Fired) {
        self.begun = Some(fired);
    }

    /// The capture that began succeeded; one that fails leaves every step as it is, to be tried again.
    pub fn captured(&mut self, plan: &Plan) {
        if let Some(fired) = self.begun.take() {
            self.watch.captured(&plan.triggers, &fired);
        }
    }

    /// Each comparison of one trigger as it stands now.
    #[must_use]
    pub fn readings(&self, plan: &Plan, index: usize, past: Past<'_>) -> Vec<Reading> {
        self.watch
            .readings(&plan.triggers, index, &self.view(past), past.clock_ms())
    }

    /// Change of a fact per hour over the samples kept, of at most this span; `None` while they cover too little.
    #[must_use]
    pub fn rate_per_hour(&self, fact: &str, span_ms: u64, past: Past<'_>) -> Option<f64> {
        let measured = self.view(past).measure(fact, Statistic::Rate, span_ms)?;
        (measured.covered_ms >= RATE_MIN_MS && measured.value.is_finite()).then_some(measured.value)
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
