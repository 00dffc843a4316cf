//! What the agent would do: live values of every watched process, and what each trigger says about them.
//!
//! It discovers, samples, peeks and checks as the collector does, with the same code, and captures nothing. Budgets
//! play no part: what is told is whether a trigger would fire, not whether its service has a capture left today.

use crate::config::Config;
use crate::discover::{Discovery, matcher};
use crate::history::{HistoryStore, ServiceHistory};
use crate::identity::Identity;
use crate::peek::RuntimePeek;
use crate::sample::{Facts, LOAD, SLOW, Sampler};
use crate::siblings::Siblings;
use crate::target::{Past, Plan, Target};
use jiff::Timestamp;
use leakhound_archive::ArchiveError;
use leakhound_archive::state::State;
use leakhound_rules::{Reading, Truth};
use std::collections::BTreeMap;
use std::time::Instant;

/// Live managed values that are read of every .NET process, whatever its triggers name.
const SHOWN: [&str; 2] = ["managed.heap", "managed.finalizer_ready"];
/// Span over which growth is shown.
const GROWTH_MS: u64 = 10 * 60 * 1000;

/// Processes under watch, without consequences.
pub struct DryRun {
    config: Config,
    plans: Vec<Plan>,
    sampler: Sampler,
    discovery: Discovery,
    discover_at: Option<Instant>,
    store: Option<HistoryStore>,
    pasts: BTreeMap<String, ServiceHistory>,
    targets: BTreeMap<u32, Watched>,
    unreadable: BTreeMap<u32, String>,
}

/// A process and what its triggers did so far.
struct Watched {
    target: Target,
    /// Of each trigger: since when it holds, and how often it would have fired.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    since_ms: Option<i64>,
    fired: u32,
}

/// One moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Every process that could be sampled, by service and id.
    pub processes: Vec<Seen>,
    /// Services without a process.
    pub absent: Vec<String>,
    /// What could not be watched, a sentence each.
    pub problems: Vec<String>,
}

/// A process at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Name of its service.
    pub service: String,
    /// Its id.
    pub pid: u32,
    /// Its own name.
    pub name: String,
    /// All facts that were sampled.
    pub facts: Facts,
    /// Growth of its private bytes per hour, over ten minutes at most; `None` for the first seconds.
    pub growth_per_hour: Option<f64>,
    /// Why its live managed values cannot be read.
    pub blind: Option<String>,
    /// Its triggers, in the order of the configuration.
    pub triggers: Vec<TriggerState>,
}

/// A trigger about one process at one moment.
#[derive(Debug, Clone)]
pub struct TriggerState {
    /// Its name.
    pub name: String,
    /// Its condition.
    pub when: String,
    /// Whether it would fire; unknown never does.
    pub truth: Truth,
    /// How long it would have fired without a break.
    pub true_ms: Option<u64>,
    /// How often it would have fired since the watch began: each time that it came true, and each step.
    pub fired: u32,
    /// Facts it could not read.
    pub missing: Vec<String>,
    /// Each of its comparisons.
    pub readings: Vec<Reading>,
}

impl DryRun {
    /// Prepares to watch the services of `config`. With the agent's `state`, averages reach back into its past;
    /// what is sampled here is not added to it.
    ///
    /// # Errors
    /// The state database failed.
    pub fn new(config: Config, state: Option<State>) -> Result<Self, ArchiveError> {
        let plan = |service| {
            let mut plan = Plan::of(service);
            // A person looks: every column is fresh in every row.
            plan.named.extend(SLOW.iter().chain(LOAD));
            for fact in SHOWN {
                if !plan.peeks.contains(&fact) {
                    plan.peeks.push(fact);
                }
            }
            plan
        };
        Ok(Self {
            plans: config.service.iter().map(plan).collect(),
            config,
            sampler: Sampler::default(),
            discovery: Discovery::default(),
            discover_at: None,
            store: state.map(HistoryStore::open).transpose()?,
            pasts: BTreeMap::new(),
            targets: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        })
    }

    /// Looks at everything once.
    pub fn look(&mut self) -> Moment {
        let now = Instant::now();
        if self.discover_at.is_none_or(|at| now >= at) {
            self.discover(now);
            self.discover_at = Some(now + Discovery::interval());
        }
        let at_ms = Timestamp::now().as_millisecond();
        self.sample(now, at_ms);
        let mut siblings = Siblings::default();
        for watched in self.targets.values() {
            let target = &watched.target;
            target.tell(&self.plans[target.service], &mut siblings);
        }
        let mut processes = Vec::new();
        for watched in self.targets.values_mut() {
            let Some(long) = self.pasts.get(&watched.target.name) else {
                continue;
            };
            let past = Past {
                now_ms: at_ms,
                long,
                siblings: &siblings,
            };
            processes.push(watched.seen(&self.plans[watched.target.service], past));
        }
        processes.sort_by(|a, b| (&a.service, a.pid).cmp(&(&b.service, b.pid)));
        let services = self.config.service.iter().enumerate();
        let absent = services.filter(|(index, _)| {
            let mut targets = self.targets.values();
            !targets.any(|w| w.target.service == *index)
        });
        Moment {
            at_ms,
            processes,
            absent: absent.map(|(_, s)| s.name.text.clone()).collect(),
            problems: self.unreadable.values().cloned().collect(),
        }
    }

    fn discover(&mut self, now: Instant) {
        let services = &self.config.service;
        let interesting = |i: &Identity| matcher::owner(services, i).is_some();
        let changes = self.discovery.pass(&interesting);
        for pid in changes.gone {
            self.targets.remove(&pid);
            self.unreadable.remove(&pid);
        }
        for identity in changes.found {
            self.watch(identity, now);
        }
        let targets = &self.targets;
        self.sampler.retain(&|group| {
            let mut targets = targets.values();
            targets.any(|w| w.target.identity.cgroup == group)
        });
    }

    fn watch(&mut self, identity: Identity, now: Instant) {
        let services = &self.config.service;
        let Some((service, name)) = matcher::owner(services, &identity) else {
            self.targets.remove(&identity.pid);
            return;
        };
        let Some(index) = services.iter().position(|s| std::ptr::eq(s, service)) else {
            return;
        };
        let (pid, plan) = (identity.pid, &self.plans[index]);
        let opened = Target::open(identity, index, name.clone(), plan, &mut self.sampler, now);
        let mut target = match opened {
            Ok(target) => target,
            Err(error) if crate::discover::identity::is_gone(&error) => return,
            Err(error) => {
                let sentence =
                    format!("Process {pid} matches service `{name}` but cannot be read: {error}.");
                self.unreadable.insert(pid, sentence);
                return;
            }
        };
        let mut runs = vec![Run::default(); plan.triggers.len()];
        if let Some(earlier) = self.targets.remove(&pid) {
            if earlier.target.service == index {
                runs = earlier.runs;
            }
            let before = self.plans.get(earlier.target.service);
            target.inherit(earlier.target, plan, before);
        }
        if !self.pasts.contains_key(&name) {
            let loaded = self.store.as_mut().map(|store| {
                let now_ms = Timestamp::now().as_millisecond();
                store.load(&name, now_ms)
            });
            let past = match loaded {
                Some(Ok(past)) => past,
                Some(Err(error)) => {
                    tracing::warn!(service = %name, %error, "Its past cannot be read; averages start anew");
                    ServiceHistory::default()
                }
                None => ServiceHistory::default(),
            };
            self.pasts.insert(name, past);
        }
        self.targets.insert(pid, Watched { target, runs });
    }

    fn sample(&mut self, now: Instant, at_ms: i64) {
        self.sampler.begin();
        let mut gone = Vec::new();
        for (pid, watched) in &mut self.targets {
            let target = &mut watched.target;
            let Some(long) = self.pasts.get_mut(&target.name) else {
                continue;
            };
            let plan = &self.plans[target.service];
            let peek = target.identity.dotnet.is_some().then_some(&RuntimePeek);
            let peek = peek.map(|p| p as &dyn crate::peek::Peek);
            if !target.sample(plan, &mut self.sampler, peek, long, now, at_ms) {
                gone.push(*pid);
            }
        }
        for pid in gone {
            self.targets.remove(&pid);
            self.discovery.forget(pid);
        }
    }
}

impl Watched {
    fn seen(&mut self, plan: &Plan, past: Past<'_>) -> Seen {
        let decisions = self.target.decide(plan, past);
        let mut triggers = Vec::with_capacity(decisions.len());
        for (index, ((armed, decision), run)) in plan
            .triggers
            .iter()
            .zip(decisions)
            .zip(&mut self.runs)
            .enumerate()
        {
            let fires = decision.truth.is_true();
            // Before steps are marked: what is shown is what made it fire.
            let readings = self.target.readings(plan, index, past);
            if fires {
                self.target.mark_fired(plan, index, past);
                let after = self.target.readings(plan, index, past);
                if run.since_ms.is_none() || steps_fired(&after) > steps_fired(&readings) {
                    run.fired += 1;
                }
            }
            run.since_ms = fires.then(|| run.since_ms.unwrap_or(past.now_ms));
            triggers.push(TriggerState {
                name: armed.name.clone(),
                when: armed.trigger.text().to_owned(),
                truth: decision.truth,
                true_ms: run
                    .since_ms
                    .map(|since| u64::try_from(past.now_ms - since).unwrap_or(0)),
                fired: run.fired,
                missing: decision.missing,
                readings,
            });
        }
        let target = &self.target;
        let mut missing = triggers.iter().flat_map(|t: &TriggerState| &t.missing);
        let no_runtime = target.identity.dotnet.is_none()
            && missing.any(|fact| fact.starts_with(crate::peek::PREFIX));
        let blind = target
            .blind()
            .or(no_runtime.then_some(crate::peek::NO_RUNTIME));
        Seen {
            service: target.name.clone(),
            pid: target.identity.pid,
            name: target.identity.name.clone(),
            growth_per_hour: target.rate_per_hour("private_bytes", GROWTH_MS, past),
            facts: target.facts.clone(),
            blind: blind.map(str::to_owned),
            triggers,
        }
    }
}

fn steps_fired(readings: &[Reading]) -> usize {
    readings
        .iter()
        .filter_map(|r| r.steps)
        .map(|(n, _)| n)
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};

    #[test]
    fn steps_and_siblings_of_real_processes_are_told_and_nothing_is_captured() {
        let program = "import os,sys\nkeep=[]\nprint('up',flush=True)\n\
                       for line in sys.stdin:\n    keep += [os.urandom(1<<20) for _ in range(int(line))]\n    print('grown',flush=True)\n";
        let start = || {
            let mut child = Command::new("python3")
                .args(["-c", program, "marker-dry-run"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            (child, out)
        };
        let mut all: Vec<_> = (0..3).map(|_| start()).collect();
        let mut line = String::new();
        for (_, out) in &mut all {
            out.read_line(&mut line).unwrap();
        }
        let text = "[[service]]\nname = \"dry\"\ncommand = \"marker-dry-run\"\n\
                    [[service.trigger]]\nname = \"steps\"\nwhen = \"private_bytes > steps(60 MB, 120 MB)\"\n\
                    [[service.trigger]]\nname = \"siblings\"\nwhen = \"private_bytes > 3 * siblings(private_bytes)\"\n\
                    [[service.trigger]]\nname = \"either\"\nwhen = \"threads > 0 or private_bytes > steps(1 TB, 2 TB)\"\n\
                    [[service.trigger]]\nname = \"below\"\nwhen = \"threads < 1\"\n\
                    [[service]]\nname = \"no-such-service\"\n";
        let config: Config = crate::config::parse(text, Path::new("test.toml")).unwrap();
        let mut dry = DryRun::new(config, None).unwrap();
        let first = dry.look();
        assert_eq!(first.processes.len(), 3);
        assert_eq!(first.absent, ["no-such-service"]);
        let about = |moment: &Moment, pid: u32| {
            let seen = moment.processes.iter().find(|s| s.pid == pid).unwrap();
            let state = |t: &TriggerState| (t.truth, t.fired);
            seen.triggers.iter().map(state).collect::<Vec<_>>()
        };
        let (yes, no) = (Truth::True, Truth::False);
        // The third holds all the time and is counted once.
        let quiet = [(no, 0), (no, 0), (yes, 1), (no, 0)];
        let (pid, other) = (all[0].0.id(), all[1].0.id());
        assert_eq!(about(&first, pid), quiet);
        let mut grow = |mib: usize| {
            let (child, out) = &mut all[0];
            writeln!(child.stdin.as_mut().unwrap(), "{mib}").unwrap();
            out.read_line(&mut line).unwrap();
        };
        grow(90);
        let lasting = [(yes, 1), (no, 0)];
        assert_eq!(about(&dry.look(), pid)[..2], [(yes, 1), (yes, 1)]);
        // The first step has fired; the siblings are still small.
        let again = dry.look();
        assert_eq!(about(&again, pid)[..2], [(no, 1), (yes, 1)]);
        assert_eq!(about(&again, pid)[2..], lasting);
        let steps = &again
            .processes
            .iter()
            .find(|s| s.pid == pid)
            .unwrap()
            .triggers[0];
        assert_eq!(steps.readings[0].steps, Some((1, 2)));
        grow(60);
        let last = dry.look();
        assert_eq!(about(&last, pid)[..2], [(yes, 2), (yes, 1)]);
        assert_eq!(about(&last, pid)[2..], lasting);
        assert_eq!(about(&last, other), quiet);
        for (child, _) in &mut all {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(dry.look().processes.is_empty());
    }
}
