//! The payload of `EventCounters`: one counter's value for one interval.

use crate::Error;
use crate::cursor::Cursor;
use crate::metadata::{Definition, Type};

/// Shortest interval that a value is taken of. Runtimes can be asked for less, and nobody does; 3.1 tells every value twice
/// once several providers are on, the second time for an interval of 1 to 14 ms in which nothing can have happened (seen with
/// 3.1.23: a rate of allocation a hundred times too high).
const LEAST_INTERVAL_S: f64 = 0.25;

/// The value of a counter for the interval that has just passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Name of the event source.
    pub provider: &'a str,
    /// Name of the counter.
    pub name: String,
    /// The mean of the interval; of a counter that only grows, its increase per second. What the program says, in its
    /// unit; not a number when it says so.
    pub value: f64,
    /// How long the interval was, in seconds, as far as it says.
    pub interval_s: Option<f64>,
}

impl<'a> Sample<'a> {
    /// Reads a payload; `None` when it tells no value. Fields go by their names: their order and number differ between
    /// runtimes.
    pub(crate) fn read(
        definition: &'a Definition,
        mut from: Cursor<'_>,
    ) -> Result<Option<Self>, Error> {
        let (mut name, mut mean, mut increment, mut interval_s) = (None, None, None, None);
        for field in &definition.fields {
            match (field.kind, field.name.as_str()) {
                (Type::Text, "Name") => name = Some(from.text()?),
                (Type::Double, "Mean") => mean = Some(from.f64()?),
                (Type::Double, "Increment") => increment = Some(from.f64()?),
                (Type::Single, "IntervalSec") => interval_s = Some(f64::from(from.f32()?)),
                (Type::Text, _) => from.skip_text()?,
                (Type::Single, _) => from.f32().map(drop)?,
                (Type::Double, _) => from.f64().map(drop)?,
                (Type::Bytes(n), _) => from.take(n).map(drop)?,
            }
        }
        if interval_s.is_some_and(|seconds| seconds < LEAST_INTERVAL_S) {
            return Ok(None);
        }
        let interval_s = interval_s.filter(|seconds| seconds.is_finite());
        let value = match (mean, increment, interval_s) {
            (Some(mean), _, _) => mean,
            (None, Some(increment), Some(seconds)) => increment / seconds,
            _ => return Ok(None),
        };
        Ok(name.map(|name| Self {
            provider: &definition.provider,
            name,
            value,
            interval_s,
        }))
    }
}
