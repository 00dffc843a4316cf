//! Kind `facts`: a frozen copy is walked by a parser of its own, and only the sheet is kept.

use super::{Forecast, Place, Request, Taken};
use crate::capture::{Cancel, CaptureError, Progress};
use crate::identity::Identity;

/// A sheet and its diagnosis and report are at most so large.
#[cfg(any(all(target_os = "linux", target_arch = "x86_64"), windows))]
const SHEET_BYTES: u64 = 4 << 20;

/// Has the target's heap walked.
#[cfg(any(all(target_os = "linux", target_arch = "x86_64"), windows))]
pub(super) fn take(
    place: Place<'_>,
    request: &Request,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Taken, CaptureError> {
    use super::{begin, describe, log_begin, seal_error};
    use crate::capture::{Captured, Content, Job};
    use crate::config::Kind;
    use leakhound_archive::bundle::SHEET_FILE;

    let target = &request.target;
    let walker = place
        .walker
        .ok_or_else(|| no_method(target, "this program brings nothing that walks heaps"))?;
    let Forecast { method, cost, .. } = forecast(place, target)?;
    log_begin(request, Kind::Facts, method, &cost);
    let writer = begin(place, request)?;
    let job = Job {
        target,
        content: Content::Heap,
        config: place.config,
        cancel,
    };
    let folder = writer.partial_path();
    let describe = |captured: &Captured| describe(request, Kind::Facts, method, captured);
    #[cfg(target_os = "linux")]
    let walked = crate::capture::snapshot::walk::capture(&job, walker, folder, &describe, progress);
    #[cfg(windows)]
    let walked = crate::windows::walk::capture(method, &job, walker, folder, &describe, progress);
    let (mut manifest, sheet) = walked?;
    manifest.predicted = Some(cost);
    writer
        .put(SHEET_FILE, &sheet)
        .map_err(|e| seal_error(request, &e))?;
    Ok(Taken { writer, manifest })
}

/// What a walk would cost.
#[cfg(any(all(target_os = "linux", target_arch = "x86_64"), windows))]
pub(super) fn forecast(place: Place<'_>, target: &Identity) -> Result<Forecast, CaptureError> {
    use crate::capture::{CaptureMethod, Content, estimate};
    use crate::proc_maps;
    use leakhound_archive::manifest::PredictionRecord;

    #[cfg(target_os = "linux")]
    let (method, reasons): (&dyn CaptureMethod, _) = {
        let method = &crate::capture::snapshot::Snapshot::NEW;
        method
            .permitted(target)
            .map_err(|why| no_method(target, &why))?;
        (method, Vec::new())
    };
    #[cfg(windows)]
    let (method, reasons): (&dyn CaptureMethod, _) =
        crate::capture::choose(place.config.method, Content::Heap, target)?;
    let pid = target.pid;
    let maps = proc_maps::of_process(pid).map_err(|source| CaptureError::Read {
        pid,
        what: "its address map",
        source,
    })?;
    let estimate = estimate::predict(&maps, Content::Heap);
    let cost = method.check_cost(target, &estimate, place.config)?;
    Ok(Forecast {
        method: method.name(),
        cost: PredictionRecord {
            stored_bytes: SHEET_BYTES,
            ..super::predicted(&estimate, cost)
        },
        reasons,
    })
}

fn no_method(target: &Identity, why: &str) -> CaptureError {
    CaptureError::NoMethod {
        pid: target.pid,
        reasons: format!("`facts` needs a process that stands still, to walk it: {why}"),
    }
}

/// Has the target's heap walked.
#[cfg(not(any(all(target_os = "linux", target_arch = "x86_64"), windows)))]
pub(super) fn take(
    _: Place<'_>,
    request: &Request,
    _: &Cancel,
    _: &mut (dyn FnMut(Progress) + Send),
) -> Result<Taken, CaptureError> {
    Err(no_method(&request.target, NOT_BUILT))
}

/// What a walk would cost.
#[cfg(not(any(all(target_os = "linux", target_arch = "x86_64"), windows)))]
pub(super) fn forecast(_: Place<'_>, target: &Identity) -> Result<Forecast, CaptureError> {
    Err(no_method(target, NOT_BUILT))
}

#[cfg(not(any(all(target_os = "linux", target_arch = "x86_64"), windows)))]
const NOT_BUILT: &str = "which is built for Linux on x86-64 and Windows only";
