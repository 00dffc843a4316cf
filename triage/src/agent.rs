//! The half of the agent that works the queue: walk, judge, plan messages, deliver.

use crate::announce::Announcer;
use crate::child::WalkError;
use crate::incidents::Incidents;
use crate::notify::{DestinationConfig, Outbox};
use crate::service_rules::ServiceRules;
use crate::worker::{self, WalkLimits, WorkError};
use jiff::{SignedDuration, Timestamp};
use leakhound_archive::Archive;
use leakhound_archive::queue::{Claim, Queue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How long a job is ours without a heartbeat.
const LEASE: SignedDuration = SignedDuration::from_secs(120);
/// How often the lease is renewed.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often the incidents are looked at: well within the ten minutes that count as watched.
const TICK: Duration = Duration::from_secs(60);
/// The longest time between two looks at the outbox.
const DELIVER: Duration = Duration::from_secs(30);

/// What the configuration says about triage and delivery.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What a walk may use and show.
    pub limits: WalkLimits,
    /// The rules of each service.
    pub rules: ServiceRules,
    /// Everybody who can be told.
    pub destinations: Vec<DestinationConfig>,
    /// Destinations by service, where a service names its own.
    pub routes: BTreeMap<String, Vec<String>>,
    /// How often people hear of the same, and when it is over.
    pub incidents: crate::incidents::Policy,
    /// Link to a report; `{key}` becomes the capture's key.
    pub link: Option<String>,
}

/// Works the queue of one node.
pub struct Agent {
    archive: Arc<Archive>,
    queue: Arc<Queue>,
    outbox: Outbox,
    announcer: Announcer,
    settings: watch::Receiver<Arc<Settings>>,
}

impl Agent {
    /// An agent over an archive, its queue, its outbox and its incidents.
    #[must_use]
    pub fn new(
        archive: Arc<Archive>,
        queue: Arc<Queue>,
        outbox: Outbox,
        incidents: Incidents,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Self {
        Self {
            announcer: Announcer::new(archive.clone(), incidents, outbox.clone()),
            archive,
            queue,
            outbox,
            settings,
        }
    }

    /// Works until `shutdown`: one walk at a time, deliveries beside it. A walk that runs at shutdown is given back.
    pub async fn run(self, shutdown: CancellationToken) {
        let planned = Arc::new(Notify::new());
        let delivering = tokio::spawn(deliver(
            self.outbox.clone(),
            self.settings.clone(),
            planned.clone(),
            shutdown.clone(),
        ));
        let cancel = Arc::new(AtomicBool::new(false));
        let raise = {
            let (cancel, shutdown) = (cancel.clone(), shutdown.clone());
            tokio::spawn(async move {
                shutdown.cancelled().await;
                cancel.store(true, Ordering::Relaxed);
            })
        };
        let ticking = tokio::spawn(tick(
            self.announcer.clone(),
            self.settings.clone(),
            planned.clone(),
            shutdown.clone(),
        ));
        let worker = format!("{}", std::process::id());
        while !shutdown.is_cancelled() {
            match self.queue.claim(&worker, LEASE, Timestamp::now()) {
                Ok(Some(claim)) => {
                    self.work(&claim, &cancel).await;
                    planned.notify_one();
                }
                Ok(None) => wait(&shutdown, LOOK).await,
                Err(error) => {
                    tracing::error!(%error, "The queue cannot be read");
                    wait(&shutdown, DELIVER).await;
                }
            }
        }
        let _ = raise.await;
        let _ = delivering.await;
        let _ = ticking.await;
    }

    async fn work(&self, claim: &Claim, cancel: &Arc<AtomicBool>) {
        let settings = self.settings.borrow().clone();
        let beating = {
            let (queue, mut claim) = (self.queue.clone(), claim.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(HEARTBEAT).await;
                    if let Err(error) = queue.heartbeat(&mut claim, LEASE, Timestamp::now()) {
                        tracing::warn!(%error, "The lease of a job cannot be renewed");
                    }
                }
            })
        };
        let result = self.diagnose(claim, &settings, cancel).await;
        beating.abort();
        let now = Timestamp::now();
        let settled = match result {
            Ok(()) => self.queue.finish(claim, now),
            Err(WorkError::Walk(WalkError::Cancelled)) => self.queue.release(claim, now),
            Err(error) if error.may_pass() => {
                tracing::warn!(bundle = claim.bundle, %error, "Triage failed and will be tried again");
                self.queue
                    .give_back(claim, &error.to_string(), now)
                    .map(|_| ())
            }
            Err(error) => {
                tracing::error!(bundle = claim.bundle, %error, "Triage is not possible; the capture stays in the archive");
                self.queue.bury(claim, &error.to_string(), now)
            }
        };
        if let Err(error) = settled {
            tracing::error!(bundle = claim.bundle, %error, "The queue cannot be written");
        }
    }

    async fn diagnose(
        &self,
        claim: &Claim,
        settings: &Arc<Settings>,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(), WorkError> {
        let bundle = self.archive.bundle(&claim.bundle)?;
        let rules = settings.rules.of(bundle.id().service()).clone();
        let (archive, limits) = (self.archive.clone(), settings.limits.clone());
        let (cancel, job) = (cancel.clone(), bundle.clone());
        let walked = tokio::task::spawn_blocking(move || {
            worker::work(&archive, &job, &rules, &limits, &cancel, &mut |_| {})
        });
        let judged = match walked.await {
            Ok(result) => result?,
            // A panic here is a defect of ours; the capture is whole and can be tried again.
            Err(error) => {
                return Err(WorkError::Walk(WalkError::Died {
                    dump: bundle.path().to_owned(),
                    how: error.to_string(),
                    stderr: String::new(),
                }));
            }
        };
        tracing::info!(
            service = bundle.id().service(),
            verdict = judged.diagnosis.verdict.name(),
            bundle = claim.bundle,
            "{}",
            judged.diagnosis.headline
        );
        self.announcer
            .judged(&bundle, &judged, settings, Timestamp::now())?;
        Ok(())
    }
}

async fn deliver(
    outbox: Outbox,
    settings: watch::Receiver<Arc<Settings>>,
    planned: Arc<Notify>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let destinations = settings.borrow().destinations.clone();
        let round = outbox.deliver_due(&destinations, Timestamp::now());
        let next = tokio::select! {
            // An attempt that is cut off is taken up after its lease, under the same key.
            () = shutdown.cancelled() => return,
            round = round => match round {
                Ok(round) => round.next_at,
                Err(error) => {
                    tracing::error!(%error, "The outbox cannot be worked");
                    None
                }
            },
        };
        let pause = next
            .and_then(|at| Duration::try_from(at.duration_since(Timestamp::now())).ok())
            .map_or(DELIVER, |pause| {
                pause.clamp(Duration::from_millis(50), DELIVER)
            });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = planned.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Lets quiet time pass, and tells what is due.
async fn tick(
    announcer: Announcer,
    settings: watch::Receiver<Arc<Settings>>,
    planned: Arc<Notify>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let (announcer, settings) = (announcer.clone(), settings.borrow().clone());
        let ticked =
            tokio::task::spawn_blocking(move || announcer.tick(&settings, Timestamp::now()));
        match ticked.await {
            Ok(Ok(())) => planned.notify_one(),
            Ok(Err(error)) => tracing::error!(%error, "The incidents cannot be worked"),
            Err(error) => tracing::error!(%error, "A look at the incidents ended early"),
        }
        wait(&shutdown, TICK).await;
    }
}

async fn wait(shutdown: &CancellationToken, span: Duration) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(span) => {}
    }
}
