//! Kind `facts`: the clone is walked by a parser of its own; where the system makes none, the process itself while it stands still.

use super::dump::Source;
use super::{snapshot, suspend};
use crate::capture::walk::{Walked, walk};
use crate::capture::{CaptureError, Captured, Job, Progress, Walker};
use leakhound_archive::Manifest;
use std::path::Path;

/// Has the target walked, by the method of this name. `folder` is private; `describe` makes the manifest.
pub(crate) fn capture(
    method: &str,
    job: &Job<'_>,
    walker: &dyn Walker,
    folder: &Path,
    describe: &dyn Fn(&Captured) -> Manifest,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Walked, CaptureError> {
    let stands_still = method == suspend::NAME;
    // A walk that would hold the target for too long is given up.
    let limited = if stands_still {
        job.cancel.within(job.config.max_pause)
    } else {
        job.cancel.clone()
    };
    let job = &Job {
        cancel: &limited,
        ..*job
    };
    let work =
        |source: &Source<'_>, captured: &Captured, progress: &mut (dyn FnMut(Progress) + Send)| {
            let manifest = describe(captured);
            let notes = source.head(job.target.pid, &[])?;
            let sheet = walk(
                job,
                walker,
                folder,
                source.copy,
                &notes,
                &manifest,
                progress,
            );
            // Why it failed may be that the target ended.
            (source.check)()?;
            Ok((manifest, sheet?))
        };
    let ((mut manifest, sheet), captured) = if stands_still {
        suspend::with_stopped(job, progress, work)?
    } else {
        snapshot::with_clone(job, progress, work)?
    };
    manifest.pause_ms = captured.pause.map(|pause| pause.as_secs_f64() * 1000.0);
    Ok((manifest, sheet))
}
