//! The running collector: discovery, sampling and triggers on one thread, captures on their own.
//!
//! The async side only carries words in: shutdown and new configurations. The thread that watches never
//! waits for a capture, a disk or a peer.

use crate::adopt::{self, Adopter};
use crate::budget::Budget;
use crate::capture::Walker;
use crate::config::Config;
use crate::fabric::Roster;
use crate::heartbeat::Heartbeat;
use crate::peek::{Peek, RuntimePeek};
use crate::spare::NoticeBoard;
use crate::watcher::{Watcher, Word};
use leakhound_archive::queue::Queue;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, ArchiveError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;
use thiserror::Error;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Events kept for a listener that is slow.
const EVENTS: usize = 256;

/// Why the collector cannot work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The archive or its state database failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A thread could not be started.
    #[error("starting the {thread} thread: {source}")]
    Thread {
        /// Which.
        thread: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread ended by a defect.
    #[error("the {thread} thread panicked; captures were abandoned and every target runs")]
    Panicked {
        /// Which.
        thread: &'static str,
    },
}

/// What happened, for whoever listens.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A process is watched from now on.
    Watching {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
    },
    /// A watched process ended.
    Gone {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
    },
    /// A trigger holds and a capture begins.
    Fired {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
        /// Trigger.
        trigger: String,
        /// What it read.
        evidence: Vec<String>,
    },
    /// A trigger holds, but there is no capture.
    Held {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
        /// Trigger.
        trigger: String,
        /// Why not.
        reason: String,
    },
    /// A bundle is sealed and enqueued.
    Captured {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
        /// Key of the bundle.
        bundle: String,
        /// How long the target stood still.
        pause_ms: Option<f64>,
    },
    /// A capture failed; the target runs on.
    Failed {
        /// Service.
        service: String,
        /// Process id.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// A dump of somebody else is in the archive.
    Adopted {
        /// Key of the bundle.
        bundle: String,
    },
}

/// The collector of one node.
pub struct Collector {
    config: Config,
    archive: Arc<Archive>,
    state: State,
    queue: Arc<Queue>,
    peek: Option<Box<dyn Peek>>,
    walker: Option<Arc<dyn Walker>>,
    events: broadcast::Sender<Event>,
    roster: Roster,
    notices: NoticeBoard,
    heartbeat: Arc<Heartbeat>,
}

impl Collector {
    /// A collector that seals into `archive` and enqueues in the state database beside it.
    ///
    /// # Errors
    /// The state database cannot be opened or is newer than this program.
    pub fn new(
        config: Config,
        archive: Arc<Archive>,
        state: State,
    ) -> Result<Self, CollectorError> {
        let queue = Arc::new(Queue::open(state.clone())?);
        Ok(Self {
            config,
            archive,
            state,
            queue,
            peek: Some(Box::new(RuntimePeek)),
            walker: None,
            events: broadcast::channel(EVENTS).0,
            roster: Roster::default(),
            notices: NoticeBoard::default(),
            heartbeat: Arc::default(),
        })
    }

    /// Reads live managed values by other means than the default.
    #[must_use]
    pub fn with_peek(mut self, peek: Box<dyn Peek>) -> Self {
        self.peek = Some(peek);
        self
    }

    /// Has heaps walked, for captures of kind `facts`.
    #[must_use]
    pub fn with_walker(mut self, walker: Arc<dyn Walker>) -> Self {
        self.walker = Some(walker);
        self
    }

    /// Completes who processes are by what Service Fabric's cluster says of them.
    #[must_use]
    pub fn with_roster(mut self, roster: Roster) -> Self {
        self.roster = roster;
        self
    }

    /// Spares primaries of which a secondary was captured on another node.
    #[must_use]
    pub fn with_notice_board(mut self, notices: NoticeBoard) -> Self {
        self.notices = notices;
        self
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether the thread that watches goes round.
    #[must_use]
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// Works until `shutdown`. A configuration that arrives in `reload` takes effect at once; histories,
    /// limits and running captures stay. Captures that run at shutdown get a moment to finish, then they are
    /// cancelled and their targets let go.
    ///
    /// # Errors
    /// The state database failed at the start, or a thread ended by a defect.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        mut reload: watch::Receiver<Config>,
    ) -> Result<(), CollectorError> {
        let (words, inbox) = mpsc::channel();
        let budget = Budget::open(self.state.clone())?;
        let watcher = Watcher::new(
            self.config.clone(),
            Arc::clone(&self.archive),
            self.state.clone(),
            Arc::clone(&self.queue),
            budget,
            self.peek,
            self.walker,
            self.events.clone(),
            words.clone(),
            self.roster,
            self.notices,
            self.heartbeat,
        )?;
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                let _guard = guard;
                watcher.run(&inbox);
            })
            .map_err(|source| CollectorError::Thread {
                thread: "watch",
                source,
            })?;
        let mut adopting = Adopting::start(
            &self.config,
            &self.archive,
            &self.state,
            &self.queue,
            &self.events,
        )?;

        let mut reloads = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = ended.cancelled() => break,
                changed = reload.changed(), if reloads => {
                    if changed.is_err() {
                        // Nobody will send a configuration any more; that is no reason to stop.
                        reloads = false;
                        continue;
                    }
                    let config = reload.borrow_and_update().clone();
                    info!(services = config.service.len(), "New configuration");
                    adopting.stop().await;
                    adopting = Adopting::start(&config, &self.archive, &self.state, &self.queue, &self.events)?;
                    // A watcher that is gone is noticed by `ended`.
                    let _ = words.send(Word::Reload(Box::new(config)));
                }
            }
        }
        let _ = words.send(Word::Stop);
        adopting.stop().await;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(CollectorError::Panicked { thread: "watch" }),
        }
    }
}

/// The thread that takes in dumps of others.
struct Adopting {
    stop: Arc<AtomicBool>,
    wake: mpsc::SyncSender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Adopting {
    fn start(
        config: &Config,
        archive: &Arc<Archive>,
        state: &State,
        queue: &Arc<Queue>,
        events: &broadcast::Sender<Event>,
    ) -> Result<Self, CollectorError> {
        let (wake, woken) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut this = Self {
            stop: Arc::clone(&stop),
            wake: wake.clone(),
            thread: None,
        };
        if config.adopt.folders.is_empty() {
            return Ok(this);
        }
        let mut adopter =
            Adopter::open(config.adopt.clone(), config.capture.clone(), state.clone())?;
        let (archive, queue, events) = (Arc::clone(archive), Arc::clone(queue), events.clone());
        let adopt_config = config.adopt.clone();
        let work = move || {
            let _watching = adopt::wake_on_change(&adopt_config, wake);
            // While a file settles there may be no further notification, so the wait is short then.
            let pace = adopt_config.poll.0.min(
                adopt_config
                    .settle
                    .0
                    .max(std::time::Duration::from_millis(100)),
            );
            while !stop.load(Ordering::Relaxed) {
                for bundle in adopter.pass(&archive, Some(&queue), Instant::now()) {
                    let _ = events.send(Event::Adopted {
                        bundle: bundle.id().key(),
                    });
                }
                if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(pace) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("adopt".to_owned())
            .spawn(work);
        this.thread = Some(thread.map_err(|source| CollectorError::Thread {
            thread: "adopt",
            source,
        })?);
        Ok(this)
    }

    async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take()
            && !matches!(
                tokio::task::spawn_blocking(move || thread.join()).await,
                Ok(Ok(()))
            )
        {
            error!("The adopt thread panicked");
        }
    }
}
