//! Why a dump or a process could not be opened.

use std::io;
use std::path::PathBuf;

/// Nothing useful could be read. Lesser damage goes to [`ProcessImage::warnings`](crate::ProcessImage::warnings).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The file is something else.
    #[error("{origin}: {found}, not a memory dump. {advice}")]
    NotADump {
        /// The file.
        origin: PathBuf,
        /// What it is.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A dump, but not one that can be read.
    #[error("{origin}: {what} at offset {offset}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        origin: PathBuf,
        /// What was being read.
        what: &'static str,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The file ends before anything could be read.
    #[error(
        "{origin}: the file ends at {len} while {what} needs bytes {offset}..{end}. It was truncated; copy it again"
    )]
    Truncated {
        /// The file.
        origin: PathBuf,
        /// What was being read.
        what: &'static str,
        /// First byte needed.
        offset: u64,
        /// Byte after the last one needed.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// A count above its cap.
    #[error(
        "the dump claims {found} {what}; the limit is {limit}. It is damaged or not meant for reading"
    )]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The claim.
        found: u64,
        /// The cap.
        limit: u64,
    },
    /// A dump of a machine that is not supported.
    #[error("{origin}: the dump is of machine {machine}; x86-64 and arm64 are supported")]
    Machine {
        /// The file.
        origin: PathBuf,
        /// As the dump names it.
        machine: String,
    },
    /// The medium failed.
    #[error("{origin}: reading {what} at offset {offset}: {error}")]
    Read {
        /// The file.
        origin: PathBuf,
        /// What was being read.
        what: &'static str,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
    /// No such process, or it ended while it was being read.
    #[error("process {pid} does not exist (any more)")]
    NoProcess {
        /// The process id.
        pid: u32,
    },
    /// The system does not let us read the process.
    #[error("process {pid}: {what}: permission denied. {advice}")]
    Denied {
        /// The process id.
        pid: u32,
        /// What was being read.
        what: &'static str,
        /// What to do.
        advice: String,
    },
    /// Something of a live process could not be read.
    #[error("process {pid}: reading {what}: {error}")]
    Process {
        /// The process id.
        pid: u32,
        /// What was being read.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}
