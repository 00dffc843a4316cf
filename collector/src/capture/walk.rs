//! A frozen copy that is walked instead of written: kind `facts`. No byte of the memory reaches the disk.

use super::{CaptureError, FrozenCopy, Job, Progress, Step, Walker};
use leakhound_archive::Manifest;
use std::fs;
use std::path::{Path, PathBuf};

/// The manifest and the sheet, as JSON.
pub(crate) type Walked = (Manifest, Vec<u8>);

/// Has the copy walked. `folder` is private and takes what the walker is told besides the memory, as long as it works: `notes`,
/// a dump without memory, and the manifest.
pub(crate) fn walk(
    job: &Job<'_>,
    walker: &dyn Walker,
    folder: &Path,
    copy: u32,
    notes: &[u8],
    manifest: &Manifest,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<u8>, CaptureError> {
    const SHARES: u64 = 1000;
    let pid = job.target.pid;
    let failed = |source| CaptureError::Write { pid, source };
    let notes = Passing::write(folder.join(".threads"), notes).map_err(failed)?;
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
