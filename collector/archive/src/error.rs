//! What can go wrong with the archive, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result with [`ArchiveError`].
pub type Result<T> = std::result::Result<T, ArchiveError>;

/// An operation on the archive failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The system refused a file operation.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as in "cannot …".
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk, quota or file size limit is exhausted. What was being written was removed again.
    #[error(
        "cannot {doing} {}: {reason}{}; free some space, or lower `retain` under [archive]",
        path.display(),
        free_bytes.map(|n| format!(" ({n} bytes are free)")).unwrap_or_default()
    )]
    DiskFull {
        /// What was being done, as in "cannot …".
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// `the disk is full` or what the system says in its place.
        reason: String,
        /// Free bytes that the file system reports, if it does.
        free_bytes: Option<u64>,
    },
    /// There is no archive at the configured place.
    #[error(
        "there is no archive at {}; check `location` under [archive], or let `leakhound run` create it",
        path.display()
    )]
    NoArchive {
        /// The place.
        path: PathBuf,
    },
    /// A folder that should be a bundle is none.
    #[error("{} is not a bundle: {reason}", path.display())]
    NotABundle {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// No bundle matches.
    #[error("no bundle matches `{wanted}` in {}; `leakhound archive list` shows all", location.display())]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// The archive.
        location: PathBuf,
    },
    /// Several bundles match.
    #[error("`{wanted}` matches {} bundles; use more of the name: {}", candidates.len(), sample(candidates))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Keys of those that match.
        candidates: Vec<String>,
    },
    /// A file name that could leave the bundle or hide in it.
    #[error("`{name}` cannot be a file of a bundle: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document does not parse.
    #[error("{}: {reason}", path.display())]
    BadDocument {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A document is larger than anything we write.
    #[error("{}: it unpacks to more than {limit_bytes} bytes, the limit for a document", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// Another process holds the archive's lock for too long.
    #[error("{} is held by another process for more than {waited_ms} ms; is a leakhound process stopped?", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited_ms: u64,
    },
    /// The state database failed.
    #[error("{}: {reason}", path.display())]
    State {
        /// The database.
        path: PathBuf,
        /// What failed and what to do.
        reason: String,
    },
    /// A worker's lease on a job ran out and someone else may have the job now.
    #[error("the lease of `{worker}` on the job for {bundle} is over; its result must not be used")]
    LeaseLost {
        /// Key of the bundle.
        bundle: String,
        /// The worker that lost it.
        worker: String,
    },
}

impl ArchiveError {
    /// Wraps a failure of the system, telling a full disk from the rest.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let reason = match source.kind() {
            io::ErrorKind::StorageFull => "the disk is full",
            io::ErrorKind::QuotaExceeded => "the quota is used up",
            io::ErrorKind::FileTooLarge => "the largest allowed file size is reached",
            _ => {
                return Self::Io {
                    doing,
                    path: path.to_owned(),
                    source,
                };
            }
        };
        Self::DiskFull {
            doing,
            path: path.to_owned(),
            reason: reason.to_owned(),
            free_bytes: crate::files::free_bytes(path),
        }
    }

    /// True when there was no room: the caller may prune and try again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        let kind = match &error {
            ArchiveError::Io { source, .. } => source.kind(),
            ArchiveError::DiskFull { .. } => io::ErrorKind::StorageFull,
            ArchiveError::NoArchive { .. } | ArchiveError::NotFound { .. } => {
                io::ErrorKind::NotFound
            }
            ArchiveError::Locked { .. } => io::ErrorKind::WouldBlock,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

fn sample(candidates: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = candidates
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if candidates.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
