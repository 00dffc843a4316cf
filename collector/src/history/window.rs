//! Two windows of fixed size: exact samples of a while, and buckets of a week.

use leakhound_rules::{Measured, Statistic};
use std::collections::VecDeque;

/// Exact samples kept per fact.
pub const RECENT_SAMPLES: usize = 360;
/// Span of a bucket.
pub const BUCKET_MS: i64 = 15 * 60 * 1000;
/// Buckets of 7 days.
const MAX_BUCKETS: usize = 672;

/// The last samples of one fact of one process.
#[derive(Debug, Default)]
pub struct Recent {
    samples: VecDeque<(i64, f64)>,
}

impl Recent {
    /// Adds a sample; one that is older than the newest is left out (the clock was set back).
    pub fn add(&mut self, at_ms: i64, value: f64) {
        if self.samples.back().is_some_and(|(t, _)| *t > at_ms) {
            // What lies in the future now would never leave the window.
            self.samples.clear();
        }
        if self.samples.len() == RECENT_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((at_ms, value));
    }

    /// All samples, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, f64)> + Clone + '_ {
        self.samples.iter().copied()
    }

    /// Time of the oldest sample.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.samples.front().map(|(t, _)| *t)
    }

    /// Milliseconds between the oldest and the newest sample.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        match (self.samples.front(), self.samples.back()) {
            (Some(a), Some(b)) => u64::try_from(b.0 - a.0).unwrap_or(0),
            _ => 0,
        }
    }

    /// Slope of the straight line through all samples.
    #[must_use]
    pub fn slope_per_ms(&self) -> Option<f64> {
        slope(self.iter())
    }

    /// A statistic of the samples since a moment.
    #[must_use]
    pub fn measure(&self, statistic: Statistic, since_ms: i64) -> Option<Measured> {
        let inside = || self.iter().filter(move |(t, _)| *t >= since_ms);
        let (first, last) = (inside().next()?, self.samples.back()?);
        let samples = inside().count() as u64;
        let value = match statistic {
            // Samples come at a steady pace, so their mean is the mean over time.
            Statistic::Average => inside().map(|(_, v)| v).sum::<f64>() / samples as f64,
            Statistic::Minimum => inside().map(|(_, v)| v).fold(f64::INFINITY, f64::min),
            Statistic::Maximum => inside().map(|(_, v)| v).fold(f64::NEG_INFINITY, f64::max),
            Statistic::Rate => slope(inside())? * 3_600_000.0,
        };
        Some(Measured {
            value,
            covered_ms: u64::try_from(last.0 - first.0).unwrap_or(0),
            samples,
        })
    }
}

/// Least squares; `None` for fewer than two moments.
fn slope(points: impl Iterator<Item = (i64, f64)> + Clone) -> Option<f64> {
    let (t0, _) = points.clone().next()?;
    let n = points.clone().count() as f64;
    let points = points.map(|(t, v)| ((t - t0) as f64, v));
    let mean_t = points.clone().map(|(t, _)| t).sum::<f64>() / n;
    let mean_v = points.clone().map(|(_, v)| v).sum::<f64>() / n;
    let (mut over, mut under) = (0.0, 0.0);
    for (t, v) in points {
        over += (t - mean_t) * (v - mean_v);
        under += (t - mean_t) * (t - mean_t);
    }
    (under > 0.0).then(|| over / under)
}

/// A quarter of an hour of one fact, in 20 bytes: means over days need no more digits than `f32` has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Number of the bucket since 1970.
    pub index: u32,
    /// Samples in it.
    pub samples: u32,
    /// Their mean.
    pub mean: f32,
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

impl Bucket {
    /// The number of the bucket that holds a moment.
    #[must_use]
    pub fn index_of(at_ms: i64) -> u32 {
        u32::try_from(at_ms.div_euclid(BUCKET_MS)).unwrap_or(0)
    }

    /// Its first moment.
    #[must_use]
    pub fn start_ms(self) -> i64 {
        i64::from(self.index) * BUCKET_MS
    }
}

/// The last 7 days of one fact of one service.
#[derive(Debug, Default)]
pub struct Long {
    buckets: VecDeque<Bucket>,
}

impl Long {
    /// Adds a sample.
    pub fn add(&mut self, at_ms: i64, value: f64) {
        self.merge(Bucket {
            index: Bucket::index_of(at_ms),
            samples: 1,
            mean: value as f32,
            min: value as f32,
            max: value as f32,
        });
    }

    /// Adds a stored or new bucket; buckets come in order of time, the newest may come again.
    pub fn merge(&mut self, new: Bucket) {
        match self.buckets.back_mut() {
            Some(last) if last.index == new.index => {
                let total = last.samples.saturating_add(new.samples);
                let weight = f64::from(new.samples) / f64::from(total.max(1));
                let moved = (f64::from(new.mean) - f64::from(last.mean)) * weight;
                last.mean = (f64::from(last.mean) + moved) as f32;
                last.samples = total;
                last.min = last.min.min(new.min);
                last.max = last.max.max(new.max);
                return;
            }
            // The clock was set back: what lies in the future would distort every window.
            Some(last) if last.index > new.index => self.buckets.retain(|b| b.index < new.index),
            _ => {}
        }
        self.buckets.push_back(new);
        let oldest = new.index.saturating_sub(MAX_BUCKETS as u32 - 1);
        while self.buckets.front().is_some_and(|b| b.index < oldest) {
            self.buckets.pop_front();
        }
    }

    /// The newest bucket, which is the one that changes.
    #[must_use]
    pub fn newest(&self) -> Option<Bucket> {
        self.buckets.back().copied()
    }

    /// Buckets from a number on.
    pub fn since(&self, index: u32) -> impl Iterator<Item = Bucket> + Clone + '_ {
        self.buckets
            .iter()
            .copied()
            .filter(move |b| b.index >= index)
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// A statistic of the buckets that end after a moment. Every quarter of an hour weighs the same, however
    /// many processes the service ran in it.
    #[must_use]
    pub fn measure(&self, statistic: Statistic, since_ms: i64, now_ms: i64) -> Option<Measured> {
        let first = Bucket::index_of(since_ms);
        let inside = || self.since(first).map(|b| (b, f64::from(b.mean)));
        let (oldest, _) = inside().next()?;
        let n = inside().count();
        let value = match statistic {
            Statistic::Average => inside().map(|(_, mean)| mean).sum::<f64>() / n as f64,
            Statistic::Minimum => inside()
                .map(|(b, _)| f64::from(b.min))
                .fold(f64::INFINITY, f64::min),
            Statistic::Maximum => inside()
                .map(|(b, _)| f64::from(b.max))
                .fold(f64::NEG_INFINITY, f64::max),
            Statistic::Rate => slope(inside().map(|(b, mean)| (b.start_ms(), mean)))? * 3_600_000.0,
        };
        // Time in which nothing was sampled (the collector was off) is not covered.
        let last = self.newest()?;
        let partial = (now_ms - last.start_ms()).clamp(0, BUCKET_MS);
        let partial_first = (since_ms - oldest.start_ms()).clamp(0, BUCKET_MS);
        let covered = (n as i64 - 1) * BUCKET_MS + partial - if n > 1 { partial_first } else { 0 };
        Some(Measured {
            value,
            covered_ms: u64::try_from(covered).unwrap_or(0),
            samples: inside().map(|(b, _)| u64::from(b.samples)).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rate_is_per_hour_in_both_windows() {
        let (mut recent, mut long) = (Recent::default(), Long::default());
        for minute in 0..300 {
            recent.add(minute * 60_000, minute as f64 * 10.0);
            long.add(minute * 60_000, minute as f64 * 10.0);
        }
        let exact = recent.measure(Statistic::Rate, 0).unwrap();
        let coarse = long.measure(Statistic::Rate, 0, 300 * 60_000).unwrap();
        assert!((exact.value - 600.0).abs() < 1e-6);
        assert!((coarse.value - 600.0).abs() < 1e-6);
        assert_eq!(exact.covered_ms, 299 * 60_000);
        assert_eq!(coarse.covered_ms, 300 * 60_000);
    }

    #[test]
    fn a_gap_is_not_covered_and_a_clock_set_back_forgets_the_future() {
        let mut long = Long::default();
        long.add(0, 1.0);
        long.add(6 * 24 * 3_600_000, 3.0);
        let week = long
            .measure(Statistic::Average, 0, 6 * 24 * 3_600_000 + 60_000)
            .unwrap();
        assert!(
            week.covered_ms < 2 * 15 * 60_000 && week.value == 2.0,
            "{week:?}"
        );
        long.add(3_600_000, 5.0);
        assert_eq!(long.newest().unwrap().mean, 5.0);
        assert_eq!(long.since(0).count(), 2);
    }

    #[test]
    fn the_recent_window_sees_only_what_it_was_asked() {
        let mut recent = Recent::default();
        for t in 0..10 {
            recent.add(t * 1000, t as f64);
        }
        let last = recent.measure(Statistic::Average, 8000).unwrap();
        assert_eq!((last.value, last.samples, last.covered_ms), (8.5, 2, 1000));
        assert_eq!(recent.measure(Statistic::Minimum, 3000).unwrap().value, 3.0);
        assert_eq!(recent.measure(Statistic::Maximum, 0).unwrap().value, 9.0);
        assert_eq!(recent.measure(Statistic::Average, 99_000), None);
    }
}
