//! A capture from the decision to the sealed bundle in the archive and the job in the queue.

use crate::capture::{
    self, Cancel, CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step,
    estimate, node, priority,
};
use crate::config::{CaptureConfig, Kind};
use crate::identity::Identity;
use crate::modules;
use crate::proc_maps;
use crate::sample::Facts;
use jiff::Timestamp;
use leakhound_archive::bundle::{Bundle, CORE_FILE, DumpSink};
use leakhound_archive::manifest::TriggerRecord;
use leakhound_archive::queue::Queue;
use leakhound_archive::{Archive, Manifest, SealOptions, SealWriter};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;
use tracing::{info, warn};

/// Raw bytes between two looks at the free space of the disk.
const LOOK_EVERY: u64 = 64 << 20;

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
    let target = &request.target;
    let pid = target.pid;
    let content = Content::of(request.kind).ok_or_else(|| CaptureError::NoMethod {
        pid,
        reasons: format!("nothing writes `{}` yet", request.kind.as_str()),
    })?;
    let (_slot, unlocked) = slot(place, request, cancel)?;
    let (mut method, mut warnings) = capture::choose(place.config.method, content, target)?;
    warnings.extend(unlocked);
    let (writer, mut captured, sealed) = loop {
        let attempt = check_cost(place, target, content, method).and_then(|()| {
            info!(
                pid, service = %request.service, name = %target.name, kind = request.kind.as_str(), method = method.name(),
                trigger = %request.trigger.name, by = %request.trigger.by, evidence = ?request.trigger.evidence,
                "Capture begins"
            );
            write(place, request, content, method, cancel, progress)
        });
        let error = match attempt {
            Ok(written) => break written,
            Err(error) => error,
        };
        warn!(pid, service = %request.service, method = method.name(), %error, "Capture failed; the target runs on");
        let next = capture::next_after(method, place.config.method, content, target);
        match next.filter(|_| capture::may_step_down(&error)) {
            Some(next) => {
                warnings.push(format!("{}; {} was used", sentence(&error), next.name()));
                method = next;
            }
            None => return Err(error),
        }
    };
    progress(Progress {
        step: Step::Sealing,
        done_bytes: sealed.raw_bytes,
        total_bytes: sealed.raw_bytes,
    });
    let lacks_metadata =
        content != Content::Full && !method.keeps_metadata() && modules::are_needed(target);
    if place.config.modules && lacks_metadata {
        let problems = modules::save(&writer, pid, &captured.maps);
        captured.warnings.extend(problems);
    }
    if captured.gc_in_progress == Some(true) {
        let wait = place.config.gc_wait;
        captured.warnings.push(format!(
            "the garbage collector was moving objects, and no other moment came within {wait}: numbers are approximate"
        ));
    }
    let mut manifest = describe(request, method.name(), &captured);
    manifest.warnings.splice(0..0, warnings);
    manifest.dump = Some(sealed.record(CORE_FILE));
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
        pid, service = %request.service, bundle = %bundle.id().key(), method = method.name(),
        pause_ms = manifest.pause_ms, total_ms = manifest.total_ms, raw_bytes = sealed.raw_bytes,
        stored_bytes = sealed.stored_bytes, "Capture sealed"
    );
    Ok((bundle, manifest))
}

/// Captures on one node do not add up. Where the lock cannot be had at all the capture goes on: the second value says so.
fn slot(
    place: Place<'_>,
    request: &Request,
    cancel: &Cancel,
) -> Result<(Option<node::Slot>, Option<String>), CaptureError> {
    let pid = request.target.pid;
    let words = format!(
        "process {pid}, {}, by process {}",
        request.service,
        std::process::id()
    );
    let (slots, patience) = (place.config.concurrent, place.config.slot_wait.0);
    let is_cancelled = || cancel.is_cancelled();
    let folder = node::run_folder();
    match node::Slot::take(&folder, slots, &words, patience, &is_cancelled) {
        Ok(slot) => Ok((Some(slot), None)),
        Err(node::NoSlot::Taken(_)) if cancel.is_cancelled() => {
            Err(CaptureError::Cancelled { pid })
        }
        Err(node::NoSlot::Taken(owner)) => Err(CaptureError::Busy { owner }),
        Err(node::NoSlot::Io(error)) => Ok((
            None,
            Some(format!(
                "{} cannot be used ({error}): nothing kept other programs from capturing at the same time",
                folder.display()
            )),
        )),
    }
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

/// Refuses before the first byte what would fill the disk or hold the target for too long.
fn check_cost(
    place: Place<'_>,
    target: &Identity,
    content: Content,
    method: &dyn CaptureMethod,
) -> Result<(), CaptureError> {
    let pid = target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let maps = proc_maps::of_process(pid).map_err(read("smaps"))?;
    let estimate = estimate::predict(&maps, content);
    let folder = place.archive.location();
    let room = estimate::room(folder, estimate.stored_bytes, place.config.reserve)
        .map_err(read("the free space for the dump"))?;
    if !room.fits {
        return Err(CaptureError::NoSpace {
            folder: folder.to_owned(),
            free_bytes: room.free_bytes,
            needed_bytes: estimate.stored_bytes,
            reserve_bytes: room.reserve_bytes,
        });
    }
    method.check_cost(target, &estimate, place.config)
}

type Written = (
    leakhound_archive::BundleWriter,
    Captured,
    leakhound_archive::Sealed,
);

fn write(
    place: Place<'_>,
    request: &Request,
    content: Content,
    method: &dyn CaptureMethod,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Written, CaptureError> {
    let pid = request.target.pid;
    let writer = place
        .archive
        .begin(&request.service, Timestamp::now(), &node_name(), pid)
        .map_err(|e| seal_error(request, &e))?;
    let options = SealOptions {
        level: place.config.level,
        threads: place.config.threads as usize,
        bytes_per_second: place.config.bandwidth.map(|b| b.0),
        ..SealOptions::default()
    };
    // Threads inherit their priority: those that compress while the target runs come after it.
    let open = || writer.dump(CORE_FILE, &options);
    let seal = if method.holds_target() {
        open()
    } else {
        priority::with_low(open).unwrap_or_else(open)
    };
    let seal = seal.map_err(|e| seal_error(request, &e))?;
    let mut sink = Guarded {
        seal,
        folder: place.archive.location().to_owned(),
        place,
        since_look: 0,
    };
    let job = Job {
        target: &request.target,
        content,
        config: place.config,
        cancel,
    };
    let captured = method.capture(&job, &mut sink, progress)?;
    let sealed = sink.seal.finish();
    let sealed = sealed.map_err(|source| CaptureError::Write { pid, source })?;
    Ok((writer, captured, sealed))
}

/// A sink that keeps the disk's reserve.
struct Guarded<'a> {
    seal: SealWriter<DumpSink>,
    folder: PathBuf,
    place: Place<'a>,
    since_look: u64,
}

impl Guarded<'_> {
    fn look(&mut self, n: u64) -> io::Result<()> {
        self.since_look += n;
        if self.since_look < LOOK_EVERY {
            return Ok(());
        }
        self.since_look = 0;
        let room = estimate::room(&self.folder, 0, self.place.config.reserve)?;
        if room.fits {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "only {} bytes are free in {}, and capture.reserve keeps {}",
                room.free_bytes,
                self.folder.display(),
                room.reserve_bytes
            ),
        ))
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.seal.write(bytes)?;
        self.look(n as u64)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.seal.flush()
    }
}

impl Sink for Guarded<'_> {
    fn zeros(&mut self, n: u64) -> io::Result<()> {
        self.seal.write_zeros(n)
    }
}

/// The manifest without its dump.
fn describe(request: &Request, method: &str, captured: &Captured) -> Manifest {
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
        kind: request.kind.as_str().to_owned(),
        method: method.to_owned(),
        pause_ms: captured.pause.map(|p| p.as_secs_f64() * 1000.0),
        trigger: Some(request.trigger.clone()),
        process_facts: request.facts.to_map(),
        memory_map: captured.maps.iter().map(|m| m.entry.clone()).collect(),
        environment: target.environment.iter().filter_map(kept).collect(),
        warnings: captured.warnings.clone(),
        gc_in_progress: captured.gc_in_progress,
        ..Manifest::default()
    }
}

/// The name of this node: Service Fabric's when it runs there, else the host name.
#[must_use]
pub fn node_name() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    std::env::var("Fabric_NodeName")
        .ok()
        .filter(|n| !n.is_empty())
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
        facts: crate::sample::once(target).unwrap_or_default(),
    };
    capture(place, &request, cancel, progress)
}
