//! The beginning and the end of captures.

use super::{Watcher, Word};
use crate::budget::{Part, Ticket, Wait};
use crate::capture::Cancel;
use crate::collector::Event;
use crate::config::Pair;
use crate::heartbeat::BEAT_EVERY;
use crate::pair::Pending;
use crate::seal::{self, Place, Request};
use crate::spare::{self, Notice};
use crate::trigger::Fired;
use jiff::Timestamp;
use leakhound_archive::ArchiveError;
use leakhound_archive::manifest::{PairRecord, TriggerRecord};
use leakhound_rules::units::format_bytes;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How long captures that run at shutdown may take to finish by themselves.
const GRACE: Duration = Duration::from_secs(10);
/// Wait after the state database failed before the same service is tried again.
const DATABASE_RETRY_MS: i64 = 30_000;

/// What is to be written down when a capture succeeded.
enum AfterCapture {
    Nothing,
    /// A second one is to follow.
    PlanSecond(Pair),
    /// It was the second one; the first's key.
    EndPair(String),
}

/// A capture that runs.
pub(super) struct Running {
    service: String,
    cancel: Cancel,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Takes the second capture of a pair, unless a limit speaks against it.
    pub(super) fn fire_second(&mut self, pending: &Pending, now_ms: i64) {
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
    pub(super) fn look_for_pairs(&mut self) {
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

    pub(super) fn end_pairs_of(&mut self, pid: u32) {
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
    pub(super) fn fire(&mut self, pid: u32, fired: Fired, now_ms: i64) {
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
        if self.is_spared(pid, &fired, now_ms) {
            return;
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
        let (walker, pairs, notices) = (
            self.walker.clone(),
            self.pairs.clone(),
            self.notices.clone(),
        );
        let cooldown_ms = self
            .targets
            .get(&pid)
            .map_or(0, |target| config.service[target.service].cooldown.as_ms());
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
                let fabric = request.target.fabric.as_ref();
                for partition in fabric.into_iter().flat_map(spare::secondaries) {
                    notices.tell(Notice {
                        partition,
                        bundle: key.clone(),
                        lasts_ms: cooldown_ms,
                        made_ms: Timestamp::now().as_millisecond(),
                    });
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

    pub(super) fn mark_captured(&mut self, pid: u32) {
        if let Some(target) = self.targets.get_mut(&pid) {
            target.captured(&self.plans[target.service]);
        }
    }

    /// A capture ended.
    pub(super) fn collect(&mut self, pid: u32) {
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

    /// Waits for running captures, then cancels them.
    pub(super) fn finish(&mut self, words: &Receiver<Word>) {
        let deadline = Instant::now() + GRACE;
        while !self.running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.beat();
            if let Ok(Word::Done(pid)) = words.recv_timeout(left.min(BEAT_EVERY)) {
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

struct Done(Sender<Word>, u32);

impl Drop for Done {
    fn drop(&mut self) {
        // Nobody listens any more after shutdown.
        let _ = self.0.send(Word::Done(self.1));
    }
}
