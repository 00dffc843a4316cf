//! Live managed values (`managed.*`): the wall between the sampler and the reader of runtimes.

mod runtime;

pub use runtime::RuntimePeek;

use crate::identity::Identity;
use crate::sample::Facts;

/// Opens processes for live managed values.
pub trait Peek: Send {
    /// Prepares to read a process; costs milliseconds, once.
    ///
    /// # Errors
    /// A sentence: no runtime, not permitted, an unknown version.
    fn open(&self, target: &Identity) -> Result<Box<dyn PeekProcess>, String>;
}

/// A process whose managed values can be read.
pub trait PeekProcess: Send {
    /// Adds what can be read now, without a pause; what cannot be read is left out.
    fn read(&mut self, facts: &mut Facts);
}

/// The prefix of the facts that need this.
pub const PREFIX: &str = "managed.";
