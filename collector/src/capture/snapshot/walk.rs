//! A snapshot that is walked instead of written: kind `facts`. No byte of the memory reaches the disk.

use super::write::{self, Copied};
use crate::capture::plan::Plan;
use crate::capture::{CaptureError, Captured, FrozenCopy, Job, Progress, Step, Walker, core_file};
use leakhound_archive::Manifest;
use std::fs;
use std::path::{Path, PathBuf};

/// The manifest and the sheet, as JSON.
pub(crate) type Walked = (Manifest, Vec<u8>);

/// Has a copy of the target made and walked. `folder` is private and takes what the walker is told besides the copy, as
/// long as it works; `describe` makes the manifest.
pub(crate) fn capture(
    job: &Job<'_>,
    walker: &dyn Walker,
    folder: &Path,
    describe: &(dyn Fn(&Captured) -> Manifest + Sync),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Walked, CaptureError> {
    let work = |copied: &Copied<'_>, progress: &mut (dyn FnMut(Progress) + Send)| {
        let manifest = describe(&copied.captured(None));
        let sheet = walk(job, walker, folder, copied, &manifest, progress)?;
        Ok((manifest, sheet))
    };
    let ((mut manifest, sheet), late) = write::with_copy(job, progress, |_| {}, work)?;
    manifest.warnings.extend(late);
    Ok((manifest, sheet))
}

fn walk(
    job: &Job<'_>,
    walker: &dyn Walker,
    folder: &Path,
    copied: &Copied<'_>,
    manifest: &Manifest,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<u8>, CaptureError> {
    const SHARES: u64 = 1000;
    let pid = job.target.pid;
    let copy = copied.frozen.copy;
    let failed = |source| CaptureError::Write { pid, source };
    let head = core_file::layout(&Plan::default(), &copied.core_notes()).map_err(failed)?;
    let notes = Passing::write(folder.join(".threads.core"), &head.head).map_err(failed)?;
    let text = serde_json::to_vec(manifest).map_err(|e| failed(e.into()))?;
    let described = Passing::write(folder.join(".manifest.json"), &text).map_err(failed)?;
    let mut at = |share: f64| {
        progress(Progress {
            step: Step::Walking,
            done_bytes: (share.clamp(0.0, 1.0) * SHARES as f64) as u64,
            total_bytes: SHARES,
        });
    };
    at(0.0);
    let frozen = FrozenCopy {
        copy,
        notes: &notes.0,
        manifest: &described.0,
    };
    let walked = walker.walk(&frozen, job.cancel, &mut at);
    job.cancel.check(pid)?;
    // A copy that went in the middle reads as zeros from then on: such a sheet is not worth anything.
    write::still_there(pid, copy)?;
    walked.map_err(|reason| CaptureError::Walk { pid, reason })
}

/// A file that is only there while this is.
struct Passing(PathBuf);

impl Passing {
    fn write(path: PathBuf, bytes: &[u8]) -> std::io::Result<Self> {
        fs::write(&path, bytes)?;
        Ok(Self(path))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What stays behind is swept with the folder.
        let _ = fs::remove_file(&self.0);
    }
}
