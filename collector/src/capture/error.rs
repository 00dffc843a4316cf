//! Why there is no dump.

#[cfg(target_os = "linux")]
use super::stop::StopError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no dump. The target runs in every case, unless it ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The threads could not be stopped.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Stop(#[from] StopError),
    /// This process is not captured, as a matter of principle or of cost.
    #[error("process {pid} is not captured: {reason}")]
    Refused {
        /// Process id.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// No method works here.
    #[error("no capture method works for process {pid}: {reasons}")]
    NoMethod {
        /// Process id.
        pid: u32,
        /// One per method.
        reasons: String,
    },
    /// This method cannot serve this process; another one may.
    #[error("{method} does not work for process {pid}: {reason}")]
    Unfit {
        /// Process id.
        pid: u32,
        /// Name of the method.
        method: &'static str,
        /// Why not.
        reason: String,
    },
    /// The frozen copy is gone.
    #[error(
        "the snapshot of process {pid} was killed while it was being written, most likely because memory ran out: it is the first to go then; the process runs on, nothing was kept"
    )]
    SnapshotLost {
        /// Process id.
        pid: u32,
    },
    /// Another capture runs on this node.
    #[error(
        "another capture runs on this node ({owner}); one at a time is the default (capture.concurrent): try again when it is done"
    )]
    Busy {
        /// Who has the slot.
        owner: String,
    },
    /// The process ended, or its id now belongs to another.
    #[error("process {pid} ended {when}; nothing was kept")]
    Exited {
        /// Process id.
        pid: u32,
        /// At which point.
        when: &'static str,
    },
    /// The process became another program.
    #[error("process {pid} started another program (exec) during the capture; nothing was kept")]
    Replaced {
        /// Process id.
        pid: u32,
    },
    /// It took too long.
    #[error(
        "process {pid} stood still for {paused_ms} ms, more than max_pause ({limit_ms} ms); it runs again, nothing was kept"
    )]
    PauseExceeded {
        /// Process id.
        pid: u32,
        /// How long it stood still.
        paused_ms: u64,
        /// The limit.
        limit_ms: u64,
    },
    /// The whole capture took too long, although the process ran meanwhile.
    #[error(
        "the capture of process {pid} was given up after {limit_ms} ms (capture.max_time); it runs on, nothing was kept"
    )]
    TookTooLong {
        /// Process id.
        pid: u32,
        /// The limit.
        limit_ms: u64,
    },
    /// The heap of the frozen copy could not be read.
    #[error("walking the heap of process {pid}: {reason}")]
    Walk {
        /// Process id.
        pid: u32,
        /// What the walker said.
        reason: String,
    },
    /// Somebody asked for the end.
    #[error("the capture of process {pid} was cancelled; it runs on, nothing was kept")]
    Cancelled {
        /// Process id.
        pid: u32,
    },
    /// The volume would fall below its reserve.
    #[error("{} has {free_bytes} bytes free; a capture may need {needed_bytes} and must leave {reserve_bytes} (capture.reserve): free some space, lower the reserve, or move the archive", folder.display())]
    NoSpace {
        /// Folder of the archive.
        folder: PathBuf,
        /// Free now.
        free_bytes: u64,
        /// Predicted need.
        needed_bytes: u64,
        /// What must stay free.
        reserve_bytes: u64,
    },
    /// The dump could not be written.
    #[error("writing the dump of process {pid}: {source}; nothing was kept")]
    Write {
        /// Process id.
        pid: u32,
        /// What the medium said.
        source: io::Error,
    },
    /// Something of the process could not be read.
    #[error("reading {what} of process {pid}: {source}")]
    Read {
        /// Process id.
        pid: u32,
        /// What.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The runtime's answer was an error, or a lie.
    #[error("the runtime of process {pid} was asked for a dump: {reason}")]
    Runtime {
        /// Process id.
        pid: u32,
        /// What came back.
        reason: String,
    },
    /// The bundle could not be made.
    #[error("sealing the capture of {service}: {reason}")]
    Seal {
        /// Service name.
        service: String,
        /// What failed.
        reason: String,
    },
}

impl CaptureError {
    /// No method takes what was asked for from this process; something else may be possible.
    #[must_use]
    pub fn is_about_method(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::NoMethod { .. } | Self::Unfit { .. }
        )
    }

    /// The disk has no room, as predicted or as it turned out.
    #[must_use]
    pub fn is_lack_of_room(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Write { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}
