//! The outbox: what is to be said, kept on disk until the other side has it.
//!
//! A message is *planned* in the transaction that decides on it; *sending* is written before its first byte leaves;
//! *sent* means that the other side took it, *confirmed* that it says it has it. A process that dies at any instant leaves
//! a row from which the next one goes on: what was planned is sent, and what was being sent is treated as unanswered:
//! repeated where the key makes that harmless, looked up where the other side can be asked, and marked as a
//! repeat where neither is possible.
//!
//! A destination that fails is left alone for a while, longer each time, and never shorter than it asks for. A message that
//! could not be delivered for [`Policy::give_up_after`] becomes a *dead letter*: kept, listed, and sent again on request.
//!
//! What may not go out yet, for quiet hours, a limit or a digest, waits here like everything else; a digest takes the place of its
//! parts in one transaction.
//!
//! Invariants: one message per fingerprint, service, destination and event; at most one attempt at a time per destination,
//! over all processes; no secret is stored.

mod gather;
mod policy;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use leakhound_archive::state::State;
use tokio::task::JoinSet;

use super::config::DestinationConfig;
use super::destination::{Failure, FailureKind, Parcel, Proof, Receipt, Repeat};
use super::http::Http;
use super::message::{Message, Turn};
use super::route::Timing;

pub use policy::Policy;
use store::{Claim, Outcome, Store};
pub use store::{Counts, Entry, EntryState, Filter};

/// Time between the end of the longest attempt and the end of its claim.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// What can go wrong with the outbox itself; failures of destinations are data, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The database.
    #[error(transparent)]
    State(#[from] leakhound_archive::ArchiveError),
    /// So much is waiting that something is wrong.
    #[error(
        "the outbox holds {limit} messages that could not be delivered; \
         see which destinations fail with `leakhound doctor`, or remove them from the configuration"
    )]
    Full {
        /// The limit.
        limit: u64,
    },
    /// The message cannot be stored.
    #[error("the message cannot be written as JSON: {0}")]
    Message(#[from] serde_json::Error),
    /// A task of the runtime ended early.
    #[error("delivery was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// What became of a wish to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// It will be sent; the key names it.
    New(String),
    /// The same was planned before, whatever came of it.
    Known(String),
    /// Not severe enough for this destination.
    BelowFloor,
    /// Of a service or a category that this destination does not hear of.
    Elsewhere,
}

/// A point in the life of a message, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On disk, nothing tried.
    Planned,
    /// An attempt is on disk, and nothing has left yet.
    Claimed,
    /// The attempt is over, and what came of it is not on disk yet.
    Answered,
    /// What came of it is on disk.
    Recorded,
}

/// What one round of delivery did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// The other side has it.
    pub n_confirmed: u64,
    /// The other side took it.
    pub n_sent: u64,
    /// To be tried again.
    pub n_retry: u64,
    /// Given up.
    pub n_dead: u64,
    /// When there is something to do next.
    pub next_at: Option<Timestamp>,
}

type Watcher = dyn Fn(Moment, &str) + Send + Sync;

/// The outbox. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    store: Store,
    http: Arc<Http>,
    policy: Policy,
    watcher: Option<Arc<Watcher>>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// The outbox in the node's database.
    ///
    /// # Errors
    /// The tables cannot be made, or were written by a newer program.
    pub fn open(state: State, http: Arc<Http>, policy: Policy) -> Result<Self, OutboxError> {
        Ok(Outbox {
            store: Store::open(state)?,
            http,
            policy,
            watcher: None,
        })
    }

    /// Calls `watcher` with the key at each [`Moment`]; it must return quickly.
    #[must_use]
    pub fn watched(self, watcher: impl Fn(Moment, &str) + Send + Sync + 'static) -> Self {
        Outbox {
            watcher: Some(Arc::new(watcher)),
            ..self
        }
    }

    fn reach(&self, moment: Moment, key: &str) {
        if let Some(watcher) = &self.watcher {
            watcher(moment, key);
        }
    }

    /// Puts a message on disk, to be sent from now on. `event` tells apart what may be said twice about one cause:
    /// a capture, a reopening. The same fingerprint, service, destination and event is kept once, for ever.
    ///
    /// # Errors
    /// The database refuses, or too much is waiting already.
    pub fn plan(
        &self,
        to: &DestinationConfig,
        event: &str,
        message: &Message,
        now: Timestamp,
    ) -> Result<Planned, OutboxError> {
        if message.severity < to.min_severity {
            return Ok(Planned::BelowFloor);
        }
        if !to.route.takes(message) {
            return Ok(Planned::Elsewhere);
        }
        let (due_at, gather) = match to.route.timing(message.severity, now) {
            Timing::From(at) => (at, false),
            Timing::Digest(at) => (at, true),
        };
        let key = key_of(
            &message.fingerprint(),
            &message.context.service,
            &to.name,
            event,
        );
        let row = store::NewRow {
            key: &key,
            destination: &to.name,
            event,
            message,
            planned_at: now,
            due_at,
            gather,
            deadline: policy::later(due_at, self.policy.give_up_after),
        };
        let is_new = self.store.insert(&row, self.policy.waiting_limit)?;
        if !is_new {
            return Ok(Planned::Known(key));
        }
        tracing::info!(key, destination = to.name, event, "Message planned");
        self.reach(Moment::Planned, &key);
        Ok(Planned::New(key))
    }

    /// Sends everything that is due: destinations side by side, the messages of one in order. Returns when nothing is due;
    /// a future that is dropped half way leaves its attempts unanswered, to be taken up after their lease.
    ///
    /// # Errors
    /// The database refuses. What destinations answer is recorded, not returned.
    pub async fn deliver_due(
        &self,
        to: &[DestinationConfig],
        now: Timestamp,
    ) -> Result<Round, OutboxError> {
        let clock = Clock {
            now,
            started: Instant::now(),
        };
        let names: BTreeSet<String> = to.iter().map(|d| d.name.clone()).collect();
        let mut total = Round {
            n_dead: self.bury_orphans(names, now).await?,
            ..Round::default()
        };
        let mut rounds = JoinSet::new();
        for destination in to {
            let (outbox, destination) = (self.clone(), destination.clone());
            rounds.spawn(async move { outbox.deliver_to(&destination, clock).await });
        }
        let mut failed = None;
        while let Some(done) = rounds.join_next().await {
            match done? {
                Ok(round) => total.add(round),
                // The others may well be delivering: they are not cut off.
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                total.next_at = self.blocking(Store::next_at).await?;
                Ok(total)
            }
        }
    }

    /// When there is something to do next.
    ///
    /// # Errors
    /// The database refuses.
    pub fn next_at(&self) -> Result<Option<Timestamp>, OutboxError> {
        Ok(self.store.next_at()?)
    }

    /// Messages as they stand, the newest first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Entry>, OutboxError> {
        Ok(self.store.list(filter)?)
    }

    /// How many messages stand where.
    ///
    /// # Errors
    /// The database refuses.
    pub fn counts(&self) -> Result<Counts, OutboxError> {
        Ok(self.store.counts()?)
    }

    /// The same for each destination that has any.
    ///
    /// # Errors
    /// The database refuses.
    pub fn counts_by_destination(&self) -> Result<BTreeMap<String, Counts>, OutboxError> {
        Ok(self.store.counts_by_destination()?)
    }

    /// Gives dead letters another life: one by its key, or all of a destination. Returns how many.
    ///
    /// # Errors
    /// The database refuses.
    pub fn revive(&self, key_or_destination: &str, now: Timestamp) -> Result<usize, OutboxError> {
        Ok(self.store.revive(
            key_or_destination,
            now,
            policy::later(now, self.policy.give_up_after),
        )?)
    }

    /// Forgets delivered messages that are older than [`Policy::remember`], and dead letters likewise.
    ///
    /// # Errors
    /// The database refuses.
    pub fn prune(&self, now: Timestamp) -> Result<usize, OutboxError> {
        Ok(self
            .store
            .prune(policy::earlier(now, self.policy.remember))?)
    }

    async fn bury_orphans(
        &self,
        names: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<u64, OutboxError> {
        let buried = self
            .blocking(move |store| store.bury_orphans(&names, now))
            .await?;
        for (key, destination) in &buried {
            tracing::warn!(
                key,
                destination,
                "Message given up: no destination of that name is configured"
            );
        }
        Ok(buried.len() as u64)
    }

    async fn deliver_to(&self, to: &DestinationConfig, clock: Clock) -> Result<Round, OutboxError> {
        let mut round = Round::default();
        let lease = self.http.limits().total * 2 + LEASE_MARGIN;
        self.gather(to, clock.now()).await?;
        // Bounded, so that a flood of messages to one destination cannot keep a round from ending.
        for _ in 0..self.policy.round_limit {
            let (name, now) = (to.name.clone(), clock.now());
            let until = policy::later(now, lease);
            let limit = to.route.limit;
            let Some(claim) = self
                .blocking(move |store| {
                    if let Some(limit) = limit {
                        store.hold_at(&name, limit, now)?;
                    }
                    store.claim(&name, now, until)
                })
                .await?
            else {
                break;
            };
            self.reach(Moment::Claimed, &claim.key);
            let result = self.attempt(to, &claim, clock, lease).await;
            self.reach(Moment::Answered, &claim.key);
            let outcome = self.outcome(&claim, result, clock.now());
            let retry = matches!(outcome, Outcome::Retry { .. });
            self.record(to, claim, outcome, clock, &mut round).await?;
            if retry {
                // The destination is held: its other messages wait with this one.
                break;
            }
        }
        Ok(round)
    }

    /// Makes one message of those that wait for a digest whose time has come.
    async fn gather(&self, to: &DestinationConfig, now: Timestamp) -> Result<(), OutboxError> {
        let (name, gathers) = (to.name.clone(), to.route.digest.is_some());
        let deadline = policy::later(now, self.policy.give_up_after);
        let n = self
            .blocking(move |store| match gathers {
                true => store.gather(&name, now, deadline),
                false => store.scatter(&name),
            })
            .await?;
        if n > 1 {
            tracing::info!(destination = to.name, n, "Messages gathered into a digest");
        }
        Ok(())
    }

    async fn attempt(
        &self,
        to: &DestinationConfig,
        claim: &Claim,
        clock: Clock,
        lease: Duration,
    ) -> Result<Receipt, Failure> {
        let message = match &claim.message {
            Ok(message) => message,
            Err(why) => return Err(Failure::new(FailureKind::Permanent, why.clone())),
        };
        let continues = self.opening(claim, message).await;
        let message = to.dress(message);
        let parcel = Parcel {
            key: &claim.key,
            message: &message,
            continues: continues.as_deref(),
            maybe_sent: claim.maybe_sent,
            now: clock.now(),
        };
        let attempt = async {
            if claim.maybe_sent
                && to.destination.repeat() == Repeat::Search
                && let Some(receipt) = to.destination.find(&self.http, &parcel).await?
            {
                return Ok(receipt);
            }
            to.destination.send(&self.http, &parcel).await
        };
        match tokio::time::timeout(lease.saturating_sub(LEASE_MARGIN / 2), attempt).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                FailureKind::Ambiguous,
                "the attempt took longer than its lease",
            )),
        }
    }

    /// The message that this one continues; without it, it stands alone, which is no reason not to send it.
    async fn opening(&self, claim: &Claim, message: &Message) -> Option<String> {
        let story = message.context.incident.as_ref()?;
        if matches!(story.turn, Turn::Opened | Turn::Regressed { .. }) {
            return None;
        }
        let (key, event) = (claim.key.clone(), format!("opened-{}", story.round));
        let found = self
            .blocking(move |store| store.opening(&key, &event))
            .await;
        found
            .inspect_err(
                |error| tracing::warn!(%error, "The beginning of an incident cannot be looked up"),
            )
            .ok()?
    }

    fn outcome(&self, claim: &Claim, result: Result<Receipt, Failure>, now: Timestamp) -> Outcome {
        let failure = match result {
            Ok(receipt) => return Outcome::Done(receipt),
            Err(failure) => failure,
        };
        let ambiguous = failure.kind == FailureKind::Ambiguous;
        let after = match failure.kind {
            FailureKind::Permanent => {
                return Outcome::Dead {
                    reason: failure.reason,
                    ambiguous,
                };
            }
            FailureKind::Retry(after) => after,
            FailureKind::Ambiguous => None,
        };
        if now >= claim.deadline {
            let days = self.policy.give_up_after.as_secs_f64() / 86_400.0;
            let reason = format!("given up after {days:.1} days; last: {}", failure.reason);
            return Outcome::Dead { reason, ambiguous };
        }
        let wait = self.policy.wait(&claim.key, claim.n_attempts, after);
        let hold = after
            .unwrap_or_default()
            .max(wait.min(self.policy.hold_limit));
        Outcome::Retry {
            reason: failure.reason,
            ambiguous,
            next_at: policy::later(now, wait),
            hold_until: policy::later(now, hold),
        }
    }

    async fn record(
        &self,
        to: &DestinationConfig,
        claim: Claim,
        outcome: Outcome,
        clock: Clock,
        round: &mut Round,
    ) -> Result<(), OutboxError> {
        let (key, destination, n_attempts) = (claim.key.clone(), &to.name, claim.n_attempts);
        match &outcome {
            Outcome::Done(receipt) => {
                tracing::info!(key, destination, n_attempts, said = %receipt.said, proof = ?receipt.proof, "Message delivered");
                match receipt.proof {
                    Proof::Accepted => round.n_sent += 1,
                    Proof::Confirmed => round.n_confirmed += 1,
                }
            }
            Outcome::Retry {
                reason, next_at, ..
            } => {
                tracing::warn!(key, destination, n_attempts, %next_at, error = reason, "Message not delivered, to be tried again");
                round.n_retry += 1;
            }
            Outcome::Dead { reason, .. } => {
                tracing::error!(
                    key,
                    destination,
                    n_attempts,
                    error = reason,
                    "Message given up"
                );
                round.n_dead += 1;
            }
        }
        let now = clock.now();
        let kept = self
            .blocking(move |store| store.record(&claim, &outcome, now))
            .await?;
        if kept {
            self.reach(Moment::Recorded, &key);
        } else {
            tracing::warn!(
                key,
                destination,
                "The attempt outlived its lease; another one decides"
            );
        }
        Ok(())
    }

    /// SQLite waits for locks and for the disk: never on a thread that others need.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> leakhound_archive::error::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let store = self.store.clone();
        Ok(tokio::task::spawn_blocking(move || work(&store)).await??)
    }
}

impl Round {
    fn add(&mut self, other: Round) {
        self.n_confirmed += other.n_confirmed;
        self.n_sent += other.n_sent;
        self.n_retry += other.n_retry;
        self.n_dead += other.n_dead;
    }
}

/// The caller's time, moving on while a round lasts.
#[derive(Debug, Clone, Copy)]
struct Clock {
    now: Timestamp,
    started: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        policy::later(self.now, self.started.elapsed())
    }
}

/// The idempotency key: 128 bits of BLAKE3 over the parts, each with its length, so that no two lists run together.
pub(super) fn key_of(fingerprint: &str, service: &str, destination: &str, event: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [fingerprint, service, destination, event] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("lh-{}", &hasher.finalize().to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_whenever_a_part_does() {
        let keys = [
            key_of("f", "s", "d", "e"),
            key_of("fs", "", "d", "e"),
            key_of("f", "sd", "", "e"),
            key_of("f", "s", "d", "e2"),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert_eq!(keys[0], key_of("f", "s", "d", "e"));
        assert_eq!(keys[0].len(), 35);
    }
}
