//! How something grew, on one line: `▁▂▄█ 310 MB → 1.21 GB in 3 h`.

use jiff::{SignedDuration, Timestamp};
use leakhound_rules::units::{format_bytes, format_duration};
use serde::{Deserialize, Serialize};

/// Points of the line; more are thinned out.
const POINTS: usize = 12;
/// The eighths of a block.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Sizes over a span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// Bytes, the oldest first.
    pub points: Vec<f64>,
    /// Between the first and the last, in milliseconds.
    pub span_ms: u64,
}

impl Growth {
    /// Growth through these points, the oldest first; `None` when there are not two, or time does not pass.
    #[must_use]
    pub fn of(points: impl IntoIterator<Item = (Timestamp, f64)>) -> Option<Self> {
        let points: Vec<(Timestamp, f64)> = points
            .into_iter()
            .filter(|(_, bytes)| bytes.is_finite() && *bytes >= 0.0)
            .collect();
        let (first, last) = (points.first()?, points.last()?);
        let span: SignedDuration = last.0.duration_since(first.0);
        let span_ms = u64::try_from(span.as_millis()).ok().filter(|ms| *ms > 0)?;
        // Both ends stay.
        let n = points.len();
        let kept = n.min(POINTS);
        let thinned = (0..kept).map(|i| points[i * (n - 1) / (kept - 1).max(1)].1);
        Some(Growth {
            points: thinned.collect(),
            span_ms,
        })
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> String {
        let bytes = |at: Option<&f64>| format_bytes(at.copied().unwrap_or_default());
        format!(
            "{} {} → {} in {}",
            self.bars(),
            bytes(self.points.first()),
            bytes(self.points.last()),
            format_duration(self.span_ms as f64)
        )
    }

    /// From nothing to the largest: a cache that is full shows as a line that is flat and high.
    fn bars(&self) -> String {
        let largest = self.points.iter().copied().fold(1.0, f64::max);
        let bar = |bytes: &f64| BARS[((bytes / largest * 7.0).round() as usize).min(7)];
        self.points.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(bytes: &[f64]) -> Option<Growth> {
        let at = |minutes: usize| {
            Timestamp::UNIX_EPOCH + SignedDuration::from_mins(i64::try_from(minutes).unwrap_or(0))
        };
        Growth::of(bytes.iter().enumerate().map(|(i, b)| (at(i), *b)))
    }

    #[test]
    fn a_line_shows_shape_ends_and_time() {
        let line = growth(&[310e6, 520e6, 900e6, 1.21e9]).map(|g| g.line());
        assert_eq!(line.as_deref(), Some("▃▄▆█ 310 MB → 1.21 GB in 3 min"));
        let flat = growth(&[5e6, 5e6]).map(|g| g.line());
        assert_eq!(flat.as_deref(), Some("██ 5 MB → 5 MB in 1 min"));
    }

    #[test]
    fn many_points_are_thinned_and_keep_their_ends() {
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        let Some(growth) = growth(&many) else {
            panic!("a thousand points are growth")
        };
        assert_eq!(growth.points.len(), POINTS);
        assert_eq!((growth.points[0], growth.points[POINTS - 1]), (0.0, 999.0));
    }

    #[test]
    fn what_is_no_growth_has_no_line() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[1.0]), None);
        assert_eq!(growth(&[f64::NAN, 1.0]), None);
    }
}
