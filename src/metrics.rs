//! The agent's figures for Prometheus: a file for node_exporter's textfile collector, since nothing of ours listens.

mod page;
mod tally;

use jiff::Timestamp;
use leakhound_archive::queue::Queue;
use leakhound_archive::retention::Policy;
use leakhound_archive::{Archive, ServiceUsage, files};
use leakhound_collector::Event;
use leakhound_collector::config::Problems;
use leakhound_triage::agent::Settings;
use leakhound_triage::incidents::Incidents;
use leakhound_triage::notify::Outbox;
use page::Figures;
use serde::Deserialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Time between two pages: that between two scrapes, usually.
const EVERY: Duration = Duration::from_secs(15);
/// Between two looks through the whole archive while no capture comes; retention takes some away meanwhile.
const LOOK_THROUGH: Duration = Duration::from_secs(300);

/// `[metrics]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// The file, whose name ends in `.prom`. Default: none is written.
    pub file: Option<PathBuf>,
}

impl MetricsConfig {
    pub fn check(&self, problems: &mut Problems) {
        let Some(file) = &self.file else { return };
        // Not `is_absolute`: one file for all systems may leave the drive out.
        let problem = if !file.has_root() {
            "is relative; give an absolute path"
        } else if file.extension().is_none_or(|end| end != "prom") {
            "does not end in `.prom`; node_exporter reads no other files"
        } else {
            return;
        };
        let problem = format!("`{}` {problem}", file.display());
        problems.push("metrics.file", problem, None, None);
    }
}

/// What the figures are taken from.
#[derive(Clone)]
pub struct Sources {
    pub archive: Arc<Archive>,
    pub queue: Arc<Queue>,
    pub outbox: Outbox,
    pub incidents: Incidents,
    pub settings: watch::Receiver<Arc<Settings>>,
    pub policy: watch::Receiver<Policy>,
}

/// Writes the file as long as the agent works, and takes it away at the end: what is not there is not taken for news.
pub async fn write(
    sources: Sources,
    mut events: broadcast::Receiver<Event>,
    mut config: watch::Receiver<MetricsConfig>,
    shutdown: CancellationToken,
) {
    let started = Timestamp::now();
    let mut tally = Tally::default();
    let mut listening = true;
    let mut archive: Vec<ServiceUsage> = Vec::new();
    let mut look_at = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written: Option<PathBuf> = None;
    let mut said = String::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            event = events.recv(), if listening => {
                match event {
                    Ok(event) => {
                        if tally.take(event) {
                            look_at = Instant::now();
                        }
                    }
                    Err(RecvError::Lagged(n)) => {
                        tracing::warn!(n, "Events of the collector went by uncounted: metrics are too low");
                    }
                    Err(RecvError::Closed) => listening = false,
                }
                continue;
            }
            _ = ticks.tick() => {}
            Ok(()) = config.changed() => {}
        }
        let file = config.borrow().file.clone();
        if written != file {
            remove(written.take());
        }
        let Some(file) = file else { continue };
        let looks = Instant::now() >= look_at;
        if looks {
            look_at = Instant::now() + LOOK_THROUGH;
        }
        let (sources, tally) = (sources.clone(), tally.clone());
        let before = std::mem::take(&mut archive);
        let target = file.clone();
        let work = move || -> anyhow::Result<Vec<ServiceUsage>> {
            let usage = if looks {
                sources.archive.usage()?
            } else {
                before
            };
            let figures = sources.figures(started, tally, usage)?;
            replace(&target, &figures.page())?;
            Ok(figures.archive)
        };
        let done = tokio::task::spawn_blocking(work).await;
        match done.map_err(anyhow::Error::new).flatten() {
            Ok(usage) => {
                archive = usage;
                written = Some(file);
                said.clear();
            }
            Err(error) => {
                // What was known of the archive is gone with the attempt.
                look_at = Instant::now();
                let why = format!("{error:#}");
                if why != said {
                    tracing::warn!(file = %file.display(), error = why, "Metrics could not be written; they are tried again");
                    said = why;
                }
            }
        }
    }
    remove(written);
}

impl Sources {
    fn figures(
        &self,
        started: Timestamp,
        tally: Tally,
        archive: Vec<ServiceUsage>,
    ) -> anyhow::Result<Figures> {
        let mut letters = self.outbox.counts_by_destination()?;
        for destination in &self.settings.borrow().destinations {
            letters.entry(destination.name.clone()).or_default();
        }
        let policy = self.policy.borrow();
        Ok(Figures {
            started,
            written: Timestamp::now(),
            tally,
            jobs: self.queue.counts()?,
            letters,
            incidents: self.incidents.counts()?,
            archive,
            free_bytes: files::free_bytes(self.archive.location()),
            limit_bytes: policy.bundles.total_bytes,
            dump_limit_bytes: policy.dumps.total_bytes,
        })
    }
}

fn remove(file: Option<PathBuf>) {
    if let Some(file) = file
        && let Err(error) = std::fs::remove_file(&file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %file.display(), %error, "Old metrics could not be removed");
    }
}

/// Whoever reads the file finds the whole of it, old or new. It holds names and counts, and is for others to read.
fn replace(file: &Path, page: &str) -> std::io::Result<()> {
    let next = file.with_extension("prom.next");
    let mut to = std::fs::File::create(&next)?;
    to.write_all(page.as_bytes())?;
    #[cfg(unix)]
    to.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    drop(to);
    std::fs::rename(&next, file)
}
