//! A snapshot that is walked instead of written.

use super::write::{self, Copied};
use crate::capture::plan::Plan;
use crate::capture::walk::{Walked, walk};
use crate::capture::{CaptureError, Captured, Job, Progress, Walker, core_file};
use leakhound_archive::Manifest;
use std::path::Path;

/// Has a copy of the target made and walked. `folder` is private; `describe` makes the manifest.
pub(crate) fn capture(
    job: &Job<'_>,
    walker: &dyn Walker,
    folder: &Path,
    describe: &(dyn Fn(&Captured) -> Manifest + Sync),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Walked, CaptureError> {
    let pid = job.target.pid;
    let work = |copied: &Copied<'_>, progress: &mut (dyn FnMut(Progress) + Send)| {
        let manifest = describe(&copied.captured(None));
        let copy = copied.frozen.copy;
        let head = core_file::layout(&Plan::default(), &copied.core_notes());
        let notes = head
            .map_err(|source| CaptureError::Write { pid, source })?
            .head;
        let walked = walk(job, walker, folder, copy, &notes, &manifest, progress);
        // A copy that went in the middle reads as zeros from then on: such a sheet is not worth anything.
        job.cancel.check(pid)?;
        write::still_there(pid, copy)?;
        Ok((manifest, walked?))
    };
    let ((mut manifest, sheet), late) = write::with_copy(job, progress, |_| {}, work)?;
    manifest.warnings.extend(late);
    Ok((manifest, sheet))
}
