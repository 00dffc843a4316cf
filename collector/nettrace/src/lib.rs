//! The event stream of a .NET runtime (EventPipe, format Nettrace 4), as far as the values of EventCounters go.
//!
//! No I/O and no clock: bytes come in as they come off the socket, in pieces of any size, and values go out. The stream is
//! written by the process that is watched, so nothing in it is believed: every count is checked against a name in [`limits`]
//! before anything is kept for it, and what does not fit is an [`Error`] after which the stream is to be dropped.
//!
//! A stream is a header and objects, each with the name of its type. `Trace` comes first and has a fixed size; all others are
//! blocks that say how long they are. `MetadataBlock` explains events, `EventBlock` holds them; stacks and sequence points are
//! stepped over.
//!
//! Sources: microsoft/perfview, `src/TraceEvent/EventPipe/EventPipeFormat.md` (version 4); dotnet/runtime,
//! `src/native/eventpipe/ep-block.c`, `ep-metadata-generator.c`, and `CounterPayload.cs` under
//! `src/libraries/System.Private.CoreLib/src/System/Diagnostics/Tracing/`.
//!
//! ```
//! let mut reader = leakhound_nettrace::Reader::default();
//! let recorded = include_bytes!("../tests/recorded/net8.nettrace");
//! let mut queue = None;
//! for piece in recorded.chunks(1_000) {
//!     reader.push(piece, &mut |sample| {
//!         if sample.name == "queue-length" {
//!             queue = Some(sample.value);
//!         }
//!     })?;
//! }
//! assert_eq!(queue, Some(3.0));
//! # Ok::<(), leakhound_nettrace::Error>(())
//! ```

mod block;
mod counter;
mod cursor;
pub mod limits;
mod metadata;
mod reader;

pub use counter::Sample;
pub use reader::Reader;

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not begin as one.
    #[error("this is no event stream of a .NET runtime")]
    NoStream,
    /// It says that it is written in another way.
    #[error("the event stream has format {0}, and only 4 is known")]
    Version(i32),
    /// A count is larger than anything that is real.
    #[error("the event stream has {what} of {found}; the limit is {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many it says.
        found: u64,
        /// How many are read.
        limit: u64,
    },
    /// Something is where it cannot be.
    #[error("the event stream is damaged: {0}")]
    Damaged(&'static str),
}
