//! Live managed values (`managed.*`): the wall between the sampler and the reader of runtimes.

mod runtime;
mod time_in_gc;

pub use runtime::RuntimePeek;

use crate::identity::Identity;
use crate::sample::Facts;

/// Opens processes for live managed values.
pub trait Peek: Send {
    /// Prepares to read these facts of a process; costs milliseconds, once.
    ///
    /// # Errors
    /// A sentence: no runtime, not permitted, an unknown version.
    fn open(
        &self,
        target: &Identity,
        facts: &[&'static str],
    ) -> Result<Box<dyn PeekProcess>, String>;
}

/// A process whose managed values can be read.
pub trait PeekProcess: Send {
    /// Adds those of the facts it was opened for that can be read now, without a pause; what cannot be read is left
    /// out. False when nothing could be read.
    fn read(&mut self, facts: &mut Facts) -> bool;
}

/// Why a process has no values of a runtime.
pub const NO_RUNTIME: &str = "no .NET runtime was found in it";

/// The prefix of the facts that need this.
pub const PREFIX: &str = "managed.";
