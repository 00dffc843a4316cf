//! A capture from the decision to the sealed bundle in the archive and the job in the queue.

mod dump;
mod facts;

use crate::capture::estimate::{Cost, Estimate};
use crate::capture::slot::{NoSlot, Slot};
use crate::capture::{self, Cancel, CaptureError, Captured, Content, Progress, Step, Walker, node};
use crate::config::{CaptureConfig, Kind};
use crate::identity::Identity;
use crate::sample::Facts;
use jiff::Timestamp;
use leakhound_archive::bundle::Bundle;
use leakhound_archive::manifest::{PairRecord, PredictionRecord, TriggerRecord};
use leakhound_archive::queue::Queue;
use leakhound_archive::{Archive, BundleWriter, Manifest};
use std::collections::BTreeMap;
use std::time::Instant;
use tracing::{info, warn};

/// A capture that was decided on.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whom.
    pub target: Identity,
    /// Service it is archived under.
    pub service: String,
    /// What.
    pub kind: Kind,
    /// Why and by whom.
    pub trigger: TriggerRecord,
    /// Its part in a pair of captures.
    pub pair: Option<PairRecord>,
    /// The process as last sampled.
    pub facts: Facts,
}

/// Where it goes and what it may cost.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// Triage's queue; without one nothing is enqueued.
    pub queue: Option<&'a Queue>,
    /// Limits and settings.
    pub config: &'a CaptureConfig,
    /// Who walks heaps; without one there are no captures of kind `facts`.
    pub walker: Option<&'a dyn Walker>,
}

/// Captures and seals. On an error nothing is left behind and the target runs.
///
/// # Errors
/// See [`CaptureError`].
pub fn capture(
    place: Place<'_>,
    request: &Request,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(Bundle, Manifest), CaptureError> {
    let started = Instant::now();
    let pid = request.target.pid;
    capture::never_capture(&request.target)?;
    let (_slot, unlocked) = slot(place, request, cancel)?;
    let cancel = cancel.within(place.config.max_time);
    let mut warnings: Vec<String> = unlocked.into_iter().collect();
    let mut kind = request.kind;
    let mut short: Option<CaptureError> = None;
    let Taken {
        writer,
        mut manifest,
    } = loop {
        let taken = match Content::of(kind) {
            Some(content) => dump::take(place, request, content, &cancel, progress),
            None => facts::take(place, request, &cancel, progress),
        };
        let error = match taken {
            Ok(taken) => break taken,
            Err(error) => error,
        };
        warn!(pid, service = %request.service, kind = kind.as_str(), %error, "Capture failed; the target runs on");
        let gives_way = error.is_lack_of_room() || (short.is_some() && error.is_about_method());
        match lesser(place, kind).filter(|_| gives_way) {
            Some(lesser) => kind = lesser,
            // What was asked for failed for the first reason.
            None => return Err(short.unwrap_or(error)),
        }
        short.get_or_insert(error);
    };
    if let Some(error) = short {
        warnings.push(format!(
            "{}; a capture of kind `{}` was taken instead of `{}`",
            sentence(&error),
            kind.as_str(),
            request.kind.as_str()
        ));
    }
    progress(Progress {
        step: Step::Sealing,
        done_bytes: 1,
        total_bytes: 1,
    });
    if manifest.gc_in_progress == Some(true) {
        let wait = place.config.gc_wait;
        manifest.warnings.push(format!(
            "the garbage collector was moving objects, and no other moment came within {wait}: numbers are approximate"
        ));
    }
    manifest.warnings.splice(0..0, warnings);
    manifest.total_ms = Some(started.elapsed().as_secs_f64() * 1000.0);
    let bundle = writer
        .seal(manifest.clone())
        .map_err(|e| seal_error(request, &e))?;
    if let Some(queue) = place.queue {
        // The bundle is whole already; a queue that fails now finds it again among the undiagnosed.
        if let Err(error) = queue.enqueue(&bundle.id().key(), Timestamp::now()) {
            warn!(bundle = %bundle.id().key(), %error, "The capture could not be enqueued");
        }
    }
    info!(
        pid, service = %request.service, bundle = %bundle.id().key(), kind = manifest.kind, method = manifest.method,
        pause_ms = manifest.pause_ms, total_ms = manifest.total_ms,
        raw_bytes = manifest.dump.as_ref().map(|d| d.raw_bytes),
        stored_bytes = manifest.dump.as_ref().map(|d| d.stored_bytes), "Capture sealed"
    );
    Ok((bundle, manifest))
}

/// A capture that is written and not yet sealed.
struct Taken {
    writer: BundleWriter,
    manifest: Manifest,
}

/// What to capture where the disk has no room for `kind`: without room for a dump, a sheet still tells the cause.
fn lesser(place: Place<'_>, kind: Kind) -> Option<Kind> {
    if !place.config.step_down {
        return None;
    }
    let lesser = match kind {
        Kind::Full => Kind::Heap,
        Kind::Heap => Kind::Structure,
        Kind::Structure => Kind::Facts,
        Kind::Facts => return None,
    };
    (lesser != Kind::Facts || place.walker.is_some()).then_some(lesser)
}

/// An error as the beginning of a longer sentence.
fn sentence(error: &CaptureError) -> String {
    error.to_string().replace("; nothing was kept", "")
}

fn seal_error(request: &Request, error: &dyn std::fmt::Display) -> CaptureError {
    CaptureError::Seal {
        service: request.service.clone(),
        reason: error.to_string(),
    }
}

fn begin(place: Place<'_>, request: &Request) -> Result<BundleWriter, CaptureError> {
    place
        .archive
        .begin(
            &request.service,
            Timestamp::now(),
            &node_name(),
            request.target.pid,
        )
        .map_err(|e| seal_error(request, &e))
}

/// What a capture would cost, before it is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The method that would be used.
    pub method: &'static str,
    /// What it would cost.
    pub cost: PredictionRecord,
    /// Why better methods were passed over.
    pub reasons: Vec<String>,
}

/// Says what a capture would cost, and by which method.
///
/// # Errors
/// It would be refused; the error has the figures.
pub fn forecast(place: Place<'_>, target: &Identity, kind: Kind) -> Result<Forecast, CaptureError> {
    capture::never_capture(target)?;
    match Content::of(kind) {
        Some(content) => dump::forecast(place, target, content),
        None => facts::forecast(place, target),
    }
}

fn predicted(estimate: &Estimate, cost: Cost) -> PredictionRecord {
    PredictionRecord {
        pause_ms: cost.pause.as_secs_f64() * 1e3,
        memory_bytes: estimate.memory_bytes,
        stored_bytes: estimate.stored_bytes,
        copy_bytes: cost.copy_bytes,
    }
}

fn log_begin(request: &Request, kind: Kind, method: &str, predicted: &PredictionRecord) {
    info!(
        pid = request.target.pid, service = %request.service, name = %request.target.name, kind = kind.as_str(), method,
        trigger = %request.trigger.name, by = %request.trigger.by, evidence = ?request.trigger.evidence,
        predicted_pause_ms = predicted.pause_ms, predicted_stored_bytes = predicted.stored_bytes,
        predicted_copy_bytes = predicted.copy_bytes, "Capture begins"
    );
}

/// Captures on one node do not add up. Where the lock cannot be had at all the capture goes on: the second value says so.
fn slot(
    place: Place<'_>,
    request: &Request,
    cancel: &Cancel,
) -> Result<(Option<Slot>, Option<String>), CaptureError> {
    let pid = request.target.pid;
    let words = format!(
        "process {pid}, {}, by process {}",
        request.service,
        std::process::id()
    );
    let (slots, patience) = (place.config.concurrent, place.config.slot_wait.0);
    let is_cancelled = || cancel.is_cancelled();
    let folder = node::run_folder();
    match Slot::take(&folder, slots, &words, patience, &is_cancelled) {
        Ok(slot) => Ok((Some(slot), None)),
        Err(NoSlot::Taken(_)) if cancel.is_cancelled() => Err(CaptureError::Cancelled { pid }),
        Err(NoSlot::Taken(owner)) => Err(CaptureError::Busy { owner }),
        Err(NoSlot::Io(error)) => Ok((
            None,
            Some(format!(
                "{} cannot be used ({error}): nothing kept other programs from capturing at the same time",
                folder.display()
            )),
        )),
    }
}

/// What the sample that led here said, and what is counted for captures alone.
fn process_facts(request: &Request) -> BTreeMap<String, f64> {
    let mut facts = request.facts.clone();
    #[cfg(target_os = "linux")]
    crate::sample::sockets::count(request.target.pid, &mut facts);
    facts.to_map()
}

/// The manifest without its dump.
fn describe(request: &Request, kind: Kind, method: &str, captured: &Captured) -> Manifest {
    let target = &request.target;
    let kept = |(name, value): (&String, &String)| {
        (name != "TMPDIR").then(|| (name.clone(), value.clone()))
    };
    Manifest {
        service: request.service.clone(),
        node: node_name(),
        pid: target.pid,
        process_started: Timestamp::from_millisecond(target.started_ms).ok(),
        captured_at: Some(Timestamp::now()),
        executable: target.executable.as_ref().map(|e| e.display().to_string()),
        command_line: Some(target.command_line()),
        kind: kind.as_str().to_owned(),
        method: method.to_owned(),
        pause_ms: captured.pause.map(|p| p.as_secs_f64() * 1000.0),
        trigger: Some(request.trigger.clone()),
        pair: request.pair.clone(),
        process_facts: process_facts(request),
        memory_map: captured.maps.iter().map(|m| m.entry.clone()).collect(),
        environment: target.environment.iter().filter_map(kept).collect(),
        fabric: target.fabric.clone(),
        kubernetes: target.kubernetes.clone(),
        warnings: captured.warnings.clone(),
        gc_in_progress: captured.gc_in_progress,
        ..Manifest::default()
    }
}

/// The name of this node: as `LEAKHOUND_NODE` says (a container's host name is not its node's), else Service Fabric's when it runs
/// there, else the host name.
#[must_use]
pub fn node_name() -> String {
    let host = || {
        if cfg!(windows) {
            std::env::var("COMPUTERNAME").ok()
        } else {
            std::fs::read_to_string("/proc/sys/kernel/hostname").ok()
        }
    };
    let said = |name| std::env::var(name).ok().filter(|n| !n.trim().is_empty());
    said("LEAKHOUND_NODE")
        .or_else(|| said("Fabric_NodeName"))
        .or_else(host)
        .map(|n| n.trim().to_owned())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// One capture because a person asked for it: no trigger, no cool-down, every other guard.
///
/// # Errors
/// See [`CaptureError`].
pub fn capture_once(
    place: Place<'_>,
    target: &Identity,
    service: Option<&str>,
    kind: Kind,
    reason: &str,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(Bundle, Manifest), CaptureError> {
    let request = Request {
        target: target.clone(),
        service: service.unwrap_or(&target.name).to_owned(),
        kind,
        trigger: TriggerRecord {
            name: "manual".to_owned(),
            when: reason.to_owned(),
            by: "operator".to_owned(),
            ..TriggerRecord::default()
        },
        pair: None,
        facts: crate::sample::once(target).unwrap_or_default(),
    };
    capture(place, &request, cancel, progress)
}
