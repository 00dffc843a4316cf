//! The thread that watches: discovery, samples, triggers; captures begin and end in [`captures`].

mod captures;
mod sparing;

use crate::budget::Budget;
use crate::capture::{self, Walker};
use crate::collector::{CollectorError, Event};
use crate::config::Config;
use crate::discover::{Discovery, identity, matcher};
use crate::fabric::Roster;
use crate::heartbeat::{BEAT_EVERY, Heartbeat};
use crate::history::{HistoryStore, ServiceHistory};
use crate::identity::Identity;
use crate::pair::{Pairs, Pending};
use crate::peek::Peek;
use crate::sample::Sampler;
use crate::siblings::Siblings;
use crate::spare::NoticeBoard;
use crate::target::{Past, Plan, Target};
use captures::Running;
use jiff::Timestamp;
use leakhound_archive::Archive;
use leakhound_archive::queue::Queue;
use leakhound_archive::state::State;
use sparing::Sparing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tracing::{error, info, warn};

/// How often long windows are written to the state database.
const SAVE_EVERY: Duration = Duration::from_secs(60);

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
    heartbeat: Arc<Heartbeat>,
    sampler: Sampler,
    discovery: Discovery,
    targets: BTreeMap<u32, Target>,
    services: BTreeMap<String, Service>,
    running: BTreeMap<u32, Running>,
    /// Notices of other nodes, and to them.
    notices: NoticeBoard,
    /// Primaries that wait for a secondary to be captured, or had one captured in their place.
    sparing: BTreeMap<u32, Sparing>,
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
        roster: Roster,
        notices: NoticeBoard,
        heartbeat: Arc<Heartbeat>,
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
            heartbeat,
            sampler: Sampler::default(),
            discovery: Discovery::with_roster(roster),
            targets: BTreeMap::new(),
            services: BTreeMap::new(),
            running: BTreeMap::new(),
            notices,
            sparing: BTreeMap::new(),
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
            self.beat();
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
            let wait = until.saturating_duration_since(Instant::now());
            match words.recv_timeout(wait.min(BEAT_EVERY)) {
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

    /// Says that this thread goes round.
    fn beat(&self) {
        self.heartbeat.beat(self.targets.len());
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
        self.stop_sparing(pid);
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
                for (counter, why) in target.news(plan, now) {
                    warn!(pid, service = %target.name, counter, why, "A counter that a trigger names is unknown; what it decides does not fire");
                }
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

/// What each service of a configuration needs to work.
fn plans(config: &Config) -> Vec<Plan> {
    for service in &config.service {
        if !capture::is_available(service.kind) {
            error!(service = %service.name.text, kind = service.kind.as_str(), "No method writes this kind of dump");
        }
    }
    config.service.iter().map(Plan::of).collect()
}
