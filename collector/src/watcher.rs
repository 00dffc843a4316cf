//! The thread that watches: discovery, samples, triggers, and the start of captures.

use crate::budget::{Budget, Part, Ticket, Wait};
use crate::capture::{self, Cancel, Walker};
use crate::collector::{CollectorError, Event};
use crate::config::{Config, Pair};
use crate::discover::{Discovery, identity, matcher};
use crate::history::{HistoryStore, ServiceHistory};
use crate::identity::Identity;
use crate::pair::{Pairs, Pending};
use crate::peek::Peek;
use crate::sample::Sampler;
use crate::seal::{self, Place, Request};
use crate::siblings::Siblings;
use crate::target::{Past, Plan, Target};
use crate::trigger::Fired;
use jiff::Timestamp;
use leakhound_archive::manifest::{PairRecord, TriggerRecord};
use leakhound_archive::queue::Queue;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, ArchiveError};
use leakhound_rules::units::format_bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tracing::{error, info, warn};

/// How often long windows are written to the state database.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long captures that run at shutdown may take to finish by themselves.
const GRACE: Duration = Duration::from_secs(10);
/// Wait after the state database failed before the same service is tried again.
const DATABASE_RETRY_MS: i64 = 30_000;

/// What the watcher is told.
#[derive(Debug)]
pub enum Word {
    /// End.
    Stop,
    /// Work by this from now on.
    Reload(Box<Config>),
    /// A capture succeeded.
    Captured(u32),
    /// A capture ended.
    Done(u32),
}

/// What is to be written down when a capture succeeded.
enum AfterCapture {
    Nothing,
    /// A second one is to follow.
    PlanSecond(Pair),
    /// It was the second one; the first's key.
    EndPair(String),
}

/// A capture that runs.
struct Running {
    service: String,
    cancel: Cancel,
    thread: JoinHandle<()>,
}

/// What is known of a service besides its processes.
#[derive(Default)]
struct Service {
    long: ServiceHistory,
    /// Until when its budget says no, so that the database is not asked each second.
    held_until_ms: i64,
    /// The trigger and reason that were logged last, so that they are not logged each second.
    said: Option<(String, i64)>,
}

/// The thread's state.
pub struct Watcher {
    config: Arc<Config>,
    plans: Vec<Plan>,
    archive: Arc<Archive>,
    queue: Arc<Queue>,
    budget: Budget,
    store: HistoryStore,
    pairs: Pairs,
    /// Second captures that are still to come.
    pending: Vec<Pending>,
    peek: Option<Box<dyn Peek>>,
    walker: Option<Arc<dyn Walker>>,
    events: broadcast::Sender<Event>,
    words: Sender<Word>,
    sampler: Sampler,
    discovery: Discovery,
    targets: BTreeMap<u32, Target>,
    services: BTreeMap<String, Service>,
    running: BTreeMap<u32, Running>,
}

impl Watcher {
    #[allow(clippy::too_many_arguments)] // called once, by the collector
    pub(crate) fn new(
        config: Config,
        archive: Arc<Archive>,
        state: State,
        queue: Arc<Queue>,
        budget: Budget,
        peek: Option<Box<dyn Peek>>,
        walker: Option<Arc<dyn Walker>>,
        events: broadcast::Sender<Event>,
        words: Sender<Word>,
    ) -> Result<Self, CollectorError> {
        Ok(Self {
            plans: plans(&config),
            config: Arc::new(config),
            archive,
            queue,
            budget,
            store: HistoryStore::open(state.clone())?,
            pending: Vec::new(),
            pairs: Pairs::open(state)?,
            peek,
            walker,
            events,
            words,
            sampler: Sampler::default(),
            discovery: Discovery::default(),
            targets: BTreeMap::new(),
            services: BTreeMap::new(),
            running: BTreeMap::new(),
        })
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, words: &Receiver<Word>) {
        clean_up();
        self.look_for_pairs();
        let mut discover_at = Instant::now();
        let mut save_at = Instant::now() + SAVE_EVERY;
        loop {
            let now = Instant::now();
            if now >= discover_at {
                self.discover(now);
                discover_at = now + Discovery::interval();
            }
            self.sample(now);
            if now >= save_at {
                self.save();
                save_at = now + SAVE_EVERY;
            }
            let next = self.targets.values().map(|t| t.due).min();
            let until = next.unwrap_or(discover_at).min(discover_at).min(save_at);
            match words.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Word::Captured(pid)) => self.mark_captured(pid),
                Ok(Word::Done(pid)) => self.collect(pid),
                Ok(Word::Reload(config)) => {
                    self.reload(*config);
                    discover_at = Instant::now();
                }
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.save();
        self.finish(words);
    }

    fn discover(&mut self, now: Instant) {
        let config = Arc::clone(&self.config);
        let interesting = |i: &Identity| matcher::owner(&config.service, i).is_some();
        let changes = self.discovery.pass(&interesting);
        for pid in changes.gone {
            self.forget(pid);
        }
        for identity in changes.found {
            self.watch(identity, now, None);
        }
        let targets = &self.targets;
        self.sampler
            .retain(&|group| targets.values().any(|t| t.identity.cgroup == group));
    }

    /// `before` are the plans of the configuration that held until now, when that has changed.
    fn watch(&mut self, identity: Identity, now: Instant, before: Option<&[Plan]>) {
        let config = Arc::clone(&self.config);
        let Some((service, name)) = matcher::owner(&config.service, &identity) else {
            // It was something else before its exec.
            self.forget(identity.pid);
            return;
        };
        let Some(index) = config.service.iter().position(|s| std::ptr::eq(s, service)) else {
            return;
        };
        let pid = identity.pid;
        let plan = &self.plans[index];
        let mut target = match Target::open(
            identity,
            index,
            name.clone(),
            plan,
            &mut self.sampler,
            now,
        ) {
            Ok(target) => target,
            Err(error) if identity::is_gone(&error) => return,
            Err(error) => {
                warn!(pid, service = %name, %error, "The process matches a service but cannot be read");
                return;
            }
        };
        match self.targets.remove(&pid) {
            Some(earlier) => {
                let before = before.unwrap_or(&self.plans).get(earlier.service);
                target.inherit(earlier, plan, before);
            }
            None => {
                info!(pid, service = %name, process = %target.identity.name, "Watching");
                let event = Event::Watching {
                    service: name.clone(),
                    pid,
                };
                let _ = self.events.send(event);
            }
        }
        if !self.services.contains_key(&name) {
            let long = self.store.load(&name, Timestamp::now().as_millisecond());
            let long = long.unwrap_or_else(|error| {
                warn!(service = %name, %error, "Its past cannot be read; averages start anew");
                ServiceHistory::default()
            });
            self.services.insert(
                name,
                Service {
                    long,
                    ..Service::default()
                },
            );
        }
        self.targets.insert(pid, target);
    }

    fn forget(&mut self, pid: u32) {
        if let Some(target) = self.targets.remove(&pid) {
            info!(pid, service = %target.name, "Gone");
            self.end_pairs_of(pid);
            let _ = self.events.send(Event::Gone {
                service: target.name,
                pid,
            });
        }
    }

    fn sample(&mut self, now: Instant) {
        if self.targets.values().all(|t| t.due > now) {
            return;
        }
        self.sampler.begin();
        let now_ms = Timestamp::now().as_millisecond();
        let (mut gone, mut sampled, mut fired) = (Vec::new(), Vec::new(), Vec::new());
        let mut seconds = Vec::new();
        for (pid, target) in self.targets.iter_mut().filter(|(_, t)| t.due <= now) {
            let plan = &self.plans[target.service];
            let Some(service) = self.services.get_mut(&target.name) else {
                continue;
            };
            if !target.sample(
                plan,
                &mut self.sampler,
                self.peek.as_deref(),
                &mut service.long,
                now,
                now_ms,
            ) {
                gone.push(*pid);
            } else {
                sampled.push(*pid);
            }
        }
        // Triggers may compare a process with its siblings, so all are sampled before one is checked.
        let mut siblings = Siblings::default();
        for target in self.targets.values() {
            target.tell(&self.plans[target.service], &mut siblings);
        }
        for pid in sampled {
            let Some(target) = self.targets.get_mut(&pid) else {
                continue;
            };
            let Some(service) = self.services.get(&target.name) else {
                continue;
            };
            let held = target.facts.get("private_bytes");
            let start = target.identity.start_ticks;
            let second = self
                .pending
                .iter()
                .find(|p| (p.pid, p.start_ticks) == (pid, start) && p.is_due(held, now_ms));
            seconds.extend(second.cloned());
            let past = Past {
                now_ms,
                long: &service.long,
                siblings: &siblings,
            };
            if let Some(f) = target.check(&self.plans[target.service], past) {
                fired.push((pid, f));
            }
        }
        for pid in gone {
            self.discovery.forget(pid);
            self.forget(pid);
        }
        // The first has waited for them.
        for second in seconds {
            self.fire_second(&second, now_ms);
        }
        for (pid, f) in fired {
            self.fire(pid, f, now_ms);
        }
    }

    /// Takes the second capture of a pair, unless a limit speaks against it.
    fn fire_second(&mut self, pending: &Pending, now_ms: i64) {
        let pid = pending.pid;
        let Some(target) = self.targets.get(&pid) else {
            return;
        };
        let name = target.name.clone();
        let busy = self.running.values().any(|r| r.service == name);
        if busy || self.running.len() >= self.config.capture.concurrent as usize {
            return;
        }
        match self.wait_of(&name, target.service, Part::Second, now_ms) {
            Ok(None) => {}
            Ok(Some(wait)) => {
                info!(pid, service = %name, first = %pending.first, reason = %wait.reason, "No second capture");
                let _ = self.events.send(Event::Held {
                    service: name,
                    pid,
                    trigger: pending.cause.clone(),
                    reason: format!("the second capture of a pair is left out: {}", wait.reason),
                });
                return self.end_pair(&pending.first);
            }
            Err(error) => return self.no_budget(&name, &error, now_ms),
        }
        let ticket = self.pairs.begin(&pending.first, now_ms).and_then(|()| {
            self.budget
                .begin(&name, Part::Second, &pending.cause, now_ms)
        });
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(error) => return self.no_budget(&name, &error, now_ms),
        };
        self.look_for_pairs();
        let Some(target) = self.targets.get(&pid) else {
            return;
        };
        let held = target.facts.get("private_bytes").unwrap_or(0.0);
        let request = Request {
            target: target.identity.clone(),
            service: name.clone(),
            kind: self.config.service[target.service].kind,
            trigger: TriggerRecord {
                name: pending.cause.clone(),
                when: format!("{} after {}", pending.after, pending.first),
                by: "pair".to_owned(),
                evidence: vec![format!("private_bytes = {}", format_bytes(held))],
                ..TriggerRecord::default()
            },
            pair: Some(PairRecord {
                part: "second".to_owned(),
                after: pending.after.clone(),
                first: Some(pending.first.clone()),
                first_at: Timestamp::from_millisecond(pending.first_ms).ok(),
            }),
            facts: target.facts.clone(),
        };
        let _ = self.events.send(Event::Fired {
            service: name,
            pid,
            trigger: pending.cause.clone(),
            evidence: request.trigger.evidence.clone(),
        });
        self.start(
            pid,
            request,
            ticket,
            AfterCapture::EndPair(pending.first.clone()),
        );
    }

    /// Until when the budgets of a service and of the node hold a capture back.
    fn wait_of(
        &self,
        name: &str,
        service: usize,
        part: Part,
        now_ms: i64,
    ) -> Result<Option<Wait>, ArchiveError> {
        let settings = &self.config.service[service];
        let own = self
            .budget
            .check(name, part, settings.cooldown, settings.limit, now_ms)?;
        let node = match self.config.capture.limit {
            Some(limit) => self.budget.check_node(limit, now_ms)?,
            None => None,
        };
        Ok(own.into_iter().chain(node).max_by_key(|w| w.until_ms))
    }

    /// Reads what second captures are to come.
    fn look_for_pairs(&mut self) {
        match self.pairs.pending(Timestamp::now().as_millisecond()) {
            Ok(pending) => self.pending = pending,
            Err(error) => {
                warn!(%error, "Second captures cannot be read; they are left as they are")
            }
        }
    }

    fn end_pair(&mut self, first: &str) {
        if let Err(error) = self.pairs.end(first) {
            warn!(first, %error, "The end of a pair could not be written down");
        }
        self.pending.retain(|p| p.first != first);
    }

    fn end_pairs_of(&mut self, pid: u32) {
        let ended: Vec<String> = self
            .pending
            .iter()
            .filter(|p| p.pid == pid)
            .map(|p| p.first.clone())
            .collect();
        for first in ended {
            self.end_pair(&first);
        }
    }

    /// A trigger holds: a capture begins unless something speaks against it.
    fn fire(&mut self, pid: u32, fired: Fired, now_ms: i64) {
        let Some(target) = self.targets.get(&pid) else {
            return;
        };
        let name = target.name.clone();
        let busy = self.running.values().any(|r| r.service == name);
        let Some(service) = self.services.get(&name) else {
            return;
        };
        if busy || service.held_until_ms > now_ms {
            return;
        }
        if self.running.len() >= self.config.capture.concurrent as usize {
            // The next sample tries again; the trigger still holds then, or it was not worth it.
            return;
        }
        let index = target.service;
        let wait = self.wait_of(&name, index, Part::Own, now_ms);
        let Some(service) = self.services.get_mut(&name) else {
            return;
        };
        match wait {
            Ok(None) => {}
            Ok(Some(wait)) => {
                service.held_until_ms = wait.until_ms;
                let said = Some((fired.name.clone(), wait.until_ms));
                if service.said != said {
                    service.said = said;
                    info!(pid, service = %name, trigger = %fired.name, reason = %wait.reason, "Trigger holds, no capture");
                    let _ = self.events.send(Event::Held {
                        service: name,
                        pid,
                        trigger: fired.name,
                        reason: wait.reason,
                    });
                }
                return;
            }
            Err(error) => return self.no_budget(&name, &error, now_ms),
        }
        let ticket = match self.budget.begin(&name, Part::Own, &fired.name, now_ms) {
            Ok(ticket) => ticket,
            Err(error) => return self.no_budget(&name, &error, now_ms),
        };
        let Some(target) = self.targets.get(&pid) else {
            return;
        };
        let settings = &self.config.service[index];
        let own = settings.trigger.get(fired.index).and_then(|t| t.pair);
        let pair = own.or(settings.pair);
        let request = Request {
            target: target.identity.clone(),
            service: name.clone(),
            kind: settings.kind,
            pair: pair.map(|pair| PairRecord {
                part: "first".to_owned(),
                after: pair.to_string(),
                ..PairRecord::default()
            }),
            trigger: TriggerRecord {
                name: fired.name.clone(),
                when: fired.when.clone(),
                by: "trigger".to_owned(),
                evidence: fired.sentences(),
                samples: target.samples(&fired, now_ms),
            },
            facts: target.facts.clone(),
        };
        let _ = self.events.send(Event::Fired {
            service: name,
            pid,
            trigger: fired.name.clone(),
            evidence: request.trigger.evidence.clone(),
        });
        let after = pair.map_or(AfterCapture::Nothing, AfterCapture::PlanSecond);
        if let Some(target) = self.targets.get_mut(&pid) {
            target.begun(fired);
        }
        self.start(pid, request, ticket, after);
    }

    /// Without its count a capture must not begin: a failing disk must not lift the limits.
    fn no_budget(&mut self, name: &str, error: &ArchiveError, now_ms: i64) {
        error!(service = %name, %error, "The limits of the service cannot be read or written; no capture");
        if let Some(service) = self.services.get_mut(name) {
            service.held_until_ms = now_ms + DATABASE_RETRY_MS;
        }
    }

    fn start(&mut self, pid: u32, request: Request, ticket: Ticket, after: AfterCapture) {
        let service = request.service.clone();
        let cancel = Cancel::default();
        let (archive, queue, config) = (
            Arc::clone(&self.archive),
            Arc::clone(&self.queue),
            Arc::clone(&self.config),
        );
        let (budget, events, words) =
            (self.budget.clone(), self.events.clone(), self.words.clone());
        let (walker, pairs) = (self.walker.clone(), self.pairs.clone());
        let captured = self.words.clone();
        let cancelled = cancel.clone();
        let work = move || {
            // Sent on every way out, a panic included: a slot must not be lost.
            let _done = Done(words, pid);
            let place = Place {
                archive: &archive,
                queue: Some(&queue),
                config: &config.capture,
                walker: walker.as_deref(),
            };
            let result = seal::capture(place, &request, &cancelled, &mut |_| {});
            if let Err(error) = budget.end(ticket, result.is_ok()) {
                warn!(%error, "The end of a capture could not be written down; it counts as taken");
            }
            if let Ok((bundle, manifest)) = &result {
                let key = bundle.id().key();
                let settled = match &after {
                    AfterCapture::Nothing => Ok(()),
                    AfterCapture::PlanSecond(pair) => {
                        pairs.plan(*pair, &key, manifest, &request.target)
                    }
                    AfterCapture::EndPair(first) => pairs.end(first),
                };
                if let Err(error) = settled {
                    warn!(bundle = %key, %error, "What follows a capture could not be written down");
                }
                // Nobody listens any more after shutdown.
                let _ = captured.send(Word::Captured(pid));
            }
            let service = request.service;
            let _ = events.send(match result {
                Ok((bundle, manifest)) => Event::Captured {
                    service,
                    pid,
                    bundle: bundle.id().key(),
                    pause_ms: manifest.pause_ms,
                },
                Err(error) => Event::Failed {
                    service,
                    pid,
                    reason: error.to_string(),
                },
            });
        };
        match std::thread::Builder::new()
            .name("seal".to_owned())
            .spawn(work)
        {
            Ok(thread) => {
                self.running.insert(
                    pid,
                    Running {
                        service,
                        cancel,
                        thread,
                    },
                );
            }
            Err(error) => error!(pid, service = %service, %error, "A capture could not be started"),
        }
    }

    fn mark_captured(&mut self, pid: u32) {
        if let Some(target) = self.targets.get_mut(&pid) {
            target.captured(&self.plans[target.service]);
        }
    }

    /// A capture ended.
    fn collect(&mut self, pid: u32) {
        self.look_for_pairs();
        if let Some(running) = self.running.remove(&pid) {
            if let Some(service) = self.services.get_mut(&running.service) {
                service.said = None;
                service.held_until_ms = 0;
            }
            if running.thread.join().is_err() {
                error!(pid, service = %running.service, "A capture panicked; its target runs on");
            }
        }
    }

    /// A new configuration. The past of services and processes stays; limits lie in the database.
    fn reload(&mut self, config: Config) {
        let before = std::mem::replace(&mut self.plans, plans(&config));
        self.config = Arc::new(config);
        self.discovery.restart();
        let now = Instant::now();
        let identities: Vec<Identity> = self.targets.values().map(|t| t.identity.clone()).collect();
        for identity in identities {
            self.watch(identity, now, Some(&before));
        }
        for service in self.services.values_mut() {
            service.held_until_ms = 0;
            service.said = None;
        }
    }

    fn save(&mut self) {
        let now_ms = Timestamp::now().as_millisecond();
        let services = self
            .services
            .iter()
            .map(|(name, s)| (name.as_str(), &s.long));
        if let Err(error) = self.store.save(services, now_ms) {
            warn!(%error, "The past of services could not be saved; the next attempt is in a minute");
        }
    }

    /// Waits for running captures, then cancels them.
    fn finish(&mut self, words: &Receiver<Word>) {
        let deadline = Instant::now() + GRACE;
        while !self.running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Ok(Word::Done(pid)) = words.recv_timeout(left) {
                self.collect(pid);
            }
        }
        for (pid, running) in std::mem::take(&mut self.running) {
            info!(pid, service = %running.service, "Abandoning a capture for shutdown");
            running.cancel.cancel();
            if running.thread.join().is_err() {
                error!(pid, "A capture panicked; its target runs on");
            }
        }
    }
}

/// Has services reap the snapshots of a collector that was killed. In a thread of its own: nobody waits for it.
fn clean_up() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        use crate::capture::{node, snapshot::reap};
        let work = || {
            for problem in reap::sweep(&node::run_folder()) {
                warn!(problem, "A leftover of an earlier collector stays");
            }
        };
        let thread = std::thread::Builder::new().name("sweep".to_owned());
        if let Err(error) = thread.spawn(work) {
            warn!(%error, "Leftovers of an earlier collector could not be looked for");
        }
    }
}

struct Done(Sender<Word>, u32);

impl Drop for Done {
    fn drop(&mut self) {
        // Nobody listens any more after shutdown.
        let _ = self.0.send(Word::Done(self.1));
    }
}

/// What each service of a configuration needs to work.
fn plans(config: &Config) -> Vec<Plan> {
    for service in &config.service {
        if !capture::is_available(service.kind) {
            error!(service = %service.name.text, kind = service.kind.as_str(), "No method writes this kind of dump");
        }
    }
    config.service.iter().map(Plan::of).collect()
}
