//! Kind `facts`: a frozen copy is walked by a parser of its own, and only the sheet is kept.

use super::{Place, Request, Taken};
use crate::capture::{Cancel, CaptureError, Progress};
use crate::identity::Identity;
use leakhound_archive::manifest::PredictionRecord;

/// The method whose copy is walked.
pub(super) const METHOD: &str = "snapshot";
/// A sheet and its diagnosis and report are at most so large.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const SHEET_BYTES: u64 = 4 << 20;

/// Has the target's heap walked.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) fn take(
    place: Place<'_>,
    request: &Request,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Taken, CaptureError> {
    use super::{begin, describe, log_begin, seal_error};
    use crate::capture::snapshot::{self, walk};
    use crate::capture::{Content, Job};
    use crate::config::Kind;
    use leakhound_archive::bundle::SHEET_FILE;

    let target = &request.target;
    let walker = place
        .walker
        .ok_or_else(|| no_method(target, "this program brings nothing that walks heaps"))?;
    let cost = cost(place, target)?;
    log_begin(request, Kind::Facts, snapshot::NAME, &cost);
    let writer = begin(place, request)?;
    let job = Job {
        target,
        content: Content::Heap,
        config: place.config,
        cancel,
    };
    let (mut manifest, sheet) = walk::capture(
        &job,
        walker,
        writer.partial_path(),
        &|captured| describe(request, Kind::Facts, snapshot::NAME, captured),
        progress,
    )?;
    manifest.predicted = Some(cost);
    writer
        .put(SHEET_FILE, &sheet)
        .map_err(|e| seal_error(request, &e))?;
    Ok(Taken { writer, manifest })
}

/// What a walk would cost.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) fn cost(place: Place<'_>, target: &Identity) -> Result<PredictionRecord, CaptureError> {
    use crate::capture::{CaptureMethod, Content, estimate, snapshot};

    let method = snapshot::Snapshot::NEW;
    method
        .permitted(target)
        .map_err(|why| no_method(target, &why))?;
    let pid = target.pid;
    let maps = crate::proc_maps::of_process(pid).map_err(|source| CaptureError::Read {
        pid,
        what: "smaps",
        source,
    })?;
    let estimate = estimate::predict(&maps, Content::Heap);
    let cost = method.check_cost(target, &estimate, place.config)?;
    Ok(PredictionRecord {
        stored_bytes: SHEET_BYTES,
        ..super::predicted(&estimate, cost)
    })
}

fn no_method(target: &Identity, why: &str) -> CaptureError {
    CaptureError::NoMethod {
        pid: target.pid,
        reasons: format!("`facts` needs a snapshot to walk: {why}"),
    }
}

/// Has the target's heap walked.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) fn take(
    _: Place<'_>,
    request: &Request,
    _: &Cancel,
    _: &mut (dyn FnMut(Progress) + Send),
) -> Result<Taken, CaptureError> {
    Err(no_method(
        &request.target,
        "which is built for Linux on x86-64 only",
    ))
}

/// What a walk would cost.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) fn cost(_: Place<'_>, target: &Identity) -> Result<PredictionRecord, CaptureError> {
    Err(no_method(target, "which is built for Linux on x86-64 only"))
}
