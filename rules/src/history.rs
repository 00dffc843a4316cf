//! What a trigger may ask about the past of one process. The collector keeps the samples; this is its face.

/// How a window of samples is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Mean over time.
    Average,
    /// Smallest value.
    Minimum,
    /// Largest value.
    Maximum,
    /// Change per hour from the start of the window to its end; negative when the fact shrank.
    Rate,
}

/// A statistic over the part of a window that the history covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The statistic; for [`Statistic::Rate`] in units of the fact per hour.
    pub value: f64,
    /// Milliseconds between the oldest and the newest sample inside the window.
    pub covered_ms: u64,
    /// Samples inside the window.
    pub samples: u64,
}

/// The samples of one process.
///
/// Values are in the unit of the vocabulary: bytes, counts, milliseconds, ratios of 1, and 0 or 1 for yes or no.
pub trait History {
    /// The newest sample of `fact`; `None` when it could not be read.
    fn now(&self, fact: &str) -> Option<f64>;

    /// A statistic of `fact` over the last `window_ms`; `None` when there is no sample.
    ///
    /// Give what there is and say how much it covers: whether that is enough is decided by the language,
    /// see [`covers`].
    fn measure(&self, fact: &str, statistic: Statistic, window_ms: u64) -> Option<Measured>;

    /// The median of `fact` over the other processes of the same service on this node; `None` when there is
    /// none, or none of them could be read.
    fn siblings(&self, _fact: &str) -> Option<f64> {
        None
    }

    /// Why `fact` is unknown, a few words, where that is known.
    fn why_unknown(&self, _fact: &str) -> Option<&str> {
        None
    }
}

/// A window is known when at least one tenth of it is covered: a week's average is known after 17 hours.
pub const MIN_COVERED_SHARE: f64 = 0.1;

/// And when it holds at least this many samples.
pub const MIN_SAMPLES: u64 = 3;

/// True when `measured` says enough about a window of `window_ms` to be used; otherwise it is unknown.
#[must_use]
pub fn covers(measured: &Measured, window_ms: u64) -> bool {
    measured.samples >= MIN_SAMPLES
        && measured.covered_ms as f64 >= window_ms as f64 * MIN_COVERED_SHARE
        && measured.value.is_finite()
}
