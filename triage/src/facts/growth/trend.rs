//! How one quantity changed over captures: by how much, and how fast, with what doubt.

/// Captures closer together than this say nothing about a rate.
const SHORTEST_SPAN_MS: i64 = 1_000;
const HOUR_MS: f64 = 3_600_000.0;

/// When captures were taken: hours since the first, ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Times {
    hours: Vec<f64>,
}

impl Times {
    /// `None` when one of the moments is not known, or when they lie too close together.
    pub fn of(moments_ms: &[Option<i64>]) -> Option<Self> {
        let known: Vec<i64> = moments_ms.iter().copied().collect::<Option<_>>()?;
        let (first, last) = (*known.first()?, *known.last()?);
        let ordered = known.windows(2).all(|pair| pair[0] < pair[1]);
        if !ordered || last.checked_sub(first)? < SHORTEST_SPAN_MS {
            return None;
        }
        let hours = known.iter().map(|at| (at - first) as f64 / HOUR_MS);
        Some(Self {
            hours: hours.collect(),
        })
    }

    /// Slope of the line of least squares and its standard error, both per hour. Two points leave no error to estimate.
    fn slope(&self, values: &[i64]) -> Option<(f64, Option<f64>)> {
        let n = self.hours.len();
        if n < 2 || values.len() != n {
            return None;
        }
        let mean = |sum: f64| sum / n as f64;
        let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
        let (mean_hour, mean_value) = (mean(self.hours.iter().sum()), mean(values.iter().sum()));
        let spread: f64 = self.hours.iter().map(|h| (h - mean_hour).powi(2)).sum();
        let together = self.hours.iter().zip(&values);
        let slope = together
            .clone()
            .map(|(h, v)| (h - mean_hour) * (v - mean_value))
            .sum::<f64>()
            / spread;
        let error = (n > 2).then(|| {
            let rest: f64 = together
                .map(|(h, v)| (v - mean_value - slope * (h - mean_hour)).powi(2))
                .sum();
            (rest / (n - 2) as f64 / spread).sqrt()
        });
        slope.is_finite().then_some((slope, error))
    }
}

/// A quantity from the first capture to the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    pub first: i64,
    pub now: i64,
    /// Growth over all captures.
    pub delta: i64,
    /// Growth since the capture before the last.
    pub step: i64,
    /// It grew from each capture to the next.
    pub in_every_step: bool,
    /// Per hour, by least squares over all captures.
    pub rate: Option<f64>,
    /// Standard error of `rate`; unknown with two captures.
    pub rate_error: Option<f64>,
    /// Per hour, over the last step alone.
    pub last_rate: Option<f64>,
}

impl Trend {
    /// Of values in order of time; `None` with less than two.
    pub fn of(values: &[i64], times: Option<&Times>) -> Option<Self> {
        let [first, before, now] = match values {
            [first, now] => [*first, *first, *now],
            [first, .., before, now] => [*first, *before, *now],
            _ => return None,
        };
        let slope = times.and_then(|times| times.slope(values));
        let step = now.saturating_sub(before);
        let last_rate = times.and_then(|times| {
            let [.., from, to] = times.hours.as_slice() else {
                return None;
            };
            let hours = to - from;
            (hours * HOUR_MS >= SHORTEST_SPAN_MS as f64).then(|| (step as f64 / hours).round())
        });
        Some(Self {
            first,
            now,
            delta: now.saturating_sub(first),
            step,
            in_every_step: values.windows(2).all(|pair| pair[0] < pair[1]),
            rate: slope.map(|(rate, _)| rate.round()),
            rate_error: slope.and_then(|(_, error)| error).map(f64::round),
            last_rate,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn times(moments: &[i64]) -> Times {
        Times::of(&moments.iter().map(|m| Some(*m)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn two_captures_give_a_rate_without_an_error() {
        let trend = Trend::of(&[100, 150], Some(&times(&[0, 2 * HOUR]))).unwrap();
        assert_eq!((trend.delta, trend.step), (50, 50));
        assert_eq!((trend.rate, trend.rate_error), (Some(25.0), None));
        assert!(trend.in_every_step);
    }

    #[test]
    fn the_error_is_that_of_a_regression() {
        // y = 0, 100, 260 at 0, 1, 2 h: slope 130, residuals 10, -20, 10, error sqrt(600 / 1 / 2).
        let trend = Trend::of(&[0, 100, 260], Some(&times(&[0, HOUR, 2 * HOUR]))).unwrap();
        assert_eq!(trend.rate, Some(130.0));
        assert_eq!(trend.rate_error, Some(17.0));
        assert_eq!(trend.last_rate, Some(160.0));
        let straight = Trend::of(
            &[5, 15, 25, 35],
            Some(&times(&[0, HOUR, 2 * HOUR, 3 * HOUR])),
        );
        assert_eq!(straight.unwrap().rate_error, Some(0.0));
    }

    #[test]
    fn moments_that_say_nothing_give_no_rate() {
        assert_eq!(Times::of(&[Some(0), None]), None);
        assert_eq!(Times::of(&[Some(0), Some(999)]), None);
        assert_eq!(Times::of(&[Some(0), Some(HOUR), Some(HOUR)]), None);
        assert_eq!(Times::of(&[]), None);
        let trend = Trend::of(&[7, 9, 8], None).unwrap();
        assert_eq!(
            (trend.rate, trend.step, trend.in_every_step),
            (None, -1, false)
        );
        assert_eq!(Trend::of(&[7], None), None);
    }

    proptest::proptest! {
        #[test]
        fn a_line_is_found_again(start in -1_000_000i64..1_000_000, slope in -1_000i64..1_000, hours in proptest::collection::btree_set(1i64..10_000, 2..9)) {
            let moments: Vec<i64> = hours.iter().map(|h| h * HOUR).collect();
            let values: Vec<i64> = hours.iter().map(|h| start + slope * h).collect();
            let trend = Trend::of(&values, Some(&times(&moments))).unwrap();
            proptest::prop_assert_eq!(trend.rate, Some(slope as f64));
            proptest::prop_assert!(trend.rate_error.is_none_or(|error| error.abs() < 1.0));
            proptest::prop_assert_eq!(trend.in_every_step, slope > 0);
        }
    }
}
