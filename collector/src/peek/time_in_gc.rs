//! The share of its time that a process spends in collections, out of what its collector remembers of the last ones.
//!
//! Of each generation the runtime keeps how long the last collection took, and how many there were. Small collections count when
//! they begin, each as long as the last one that was seen; a full one counts when it ends, and before that for as long as it is
//! seen to run. One in the background does not count: the program runs meanwhile. What is longer than the time between two looks is
//! carried into the next one, so a collection of 3 s fills three looks a second apart.

use leakhound_clr::GcTiming;
use std::time::{Duration, Instant};

const FULL: usize = 2;

/// What was seen of a process so far.
#[derive(Debug, Default)]
pub(super) struct TimeInGc {
    last: Option<(Instant, GcTiming)>,
    /// How long a collection of generation 0 and 1 takes.
    typical: [Duration; 2],
    /// What was told when one in the background ended: no pause, until it changes.
    untrusted: [Duration; 3],
    /// Full collections that began and were not counted yet.
    open: u64,
    /// What was counted of one that runs.
    ahead: Duration,
    /// Time in collections that did not fit into the looks so far.
    carried: Duration,
}

impl TimeInGc {
    /// The share since the look before; unknown at the first.
    pub(super) fn share(
        &mut self,
        now: Instant,
        timing: GcTiming,
        is_collecting: bool,
    ) -> Option<f64> {
        let before = self.last.replace((now, timing));
        let known = before.and_then(|(then, before)| {
            let new = [0, 1, 2].map(|i| timing.begun[i].checked_sub(before.begun[i]));
            let [Some(gen0), Some(gen1), Some(full)] = new else {
                return None;
            };
            Some((
                now.saturating_duration_since(then),
                before,
                [gen0, gen1, full],
            ))
        });
        let Some((span, before, new)) = known else {
            *self = Self::begin(now, timing);
            return None;
        };
        let time = self.time(span, &before, &timing, new, is_collecting);
        let spent = time.min(span);
        self.carried = time - spent;
        let seconds = span.as_secs_f64();
        (seconds > 0.0).then(|| spent.as_secs_f64() / seconds)
    }

    fn begin(now: Instant, timing: GcTiming) -> Self {
        // Whether the last one ran in the background is not told, only whether any did.
        let is_sure = timing.background == Some(0);
        let [gen0, gen1, _] = timing.elapsed;
        Self {
            last: Some((now, timing)),
            typical: if is_sure {
                [gen0, gen1]
            } else {
                [Duration::ZERO; 2]
            },
            untrusted: if is_sure {
                [Duration::MAX; 3]
            } else {
                timing.elapsed
            },
            open: u64::from(timing.in_background),
            ..Self::default()
        }
    }

    fn time(
        &mut self,
        span: Duration,
        before: &GcTiming,
        timing: &GcTiming,
        new: [u64; 3],
        is_collecting: bool,
    ) -> Duration {
        let full = timing.elapsed[FULL];
        let has_ended = full != before.elapsed[FULL];
        let background = match (before.background, timing.background) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => u64::from(before.in_background && has_ended),
        };
        if background > 0 {
            self.untrusted = timing.elapsed;
        }
        let is_new = new[timing.last] > 0 && !is_collecting;
        let elapsed = timing.elapsed[timing.last];
        if timing.last < FULL && is_new && elapsed != self.untrusted[timing.last] {
            self.typical[timing.last] = elapsed;
        }
        let times =
            |each: Duration, n: u64| each.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
        let small = times(self.typical[0], new[0]) + times(self.typical[1], new[1]);

        self.open = (self.open + new[FULL]).saturating_sub(background);
        // One that runs in the background now is neither over nor does it stop anything.
        let running = u64::from(timing.in_background).min(self.open);
        let stopping = self.open - running;
        let mut full_time = Duration::ZERO;
        if has_ended && full != self.untrusted[FULL] {
            full_time = times(full, stopping).saturating_sub(self.ahead);
            (self.open, self.ahead) = (running, Duration::ZERO);
        } else if stopping > 0 && is_collecting && new == [0; 3] {
            full_time = span;
            self.ahead += span;
        }
        self.carried + small + full_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collector, looked at once a second.
    struct Collector {
        time: TimeInGc,
        now: Instant,
        timing: GcTiming,
    }

    impl Collector {
        fn new() -> Self {
            let mut this = Self {
                time: TimeInGc::default(),
                now: Instant::now(),
                timing: GcTiming {
                    background: Some(0),
                    ..GcTiming::default()
                },
            };
            assert_eq!(this.look(false), -1.0, "unknown at first");
            this
        }

        fn collect(&mut self, generation: usize, n: u64, each_ms: u64) {
            self.timing.begun[generation] += n;
            self.end(generation, each_ms);
        }

        fn end(&mut self, generation: usize, each_ms: u64) {
            self.timing.last = generation;
            self.timing.elapsed[..=generation].fill(Duration::from_millis(each_ms));
        }

        /// Percent, or −1.
        fn look(&mut self, is_collecting: bool) -> f64 {
            self.now += Duration::from_secs(1);
            let share = self.time.share(self.now, self.timing, is_collecting);
            share.map_or(-1.0, |s| (s * 1000.0).round() / 10.0)
        }
    }

    #[test]
    fn many_small_ones_add_up_and_rest_is_nothing() {
        let mut gc = Collector::new();
        gc.collect(0, 20, 10);
        assert_eq!(gc.look(false), 20.0);
        assert_eq!(gc.look(false), 0.0);
        gc.collect(1, 1, 50);
        gc.collect(0, 5, 10);
        // Of generation 1 only the last is told, and that was followed by others: its length is seen when it is the last.
        assert_eq!(gc.look(false), 5.0);
        gc.collect(1, 1, 50);
        assert_eq!(gc.look(false), 5.0);
        gc.collect(1, 1, 50);
        gc.collect(0, 5, 10);
        assert_eq!(gc.look(false), 10.0);
    }

    #[test]
    fn a_long_full_one_counts_while_it_runs_and_once_in_all() {
        let mut gc = Collector::new();
        gc.timing.begun[2] += 1;
        gc.timing.last = 2;
        assert_eq!(gc.look(true), 0.0, "when it began is not known");
        assert_eq!(gc.look(true), 100.0);
        assert_eq!(gc.look(true), 100.0);
        gc.end(2, 2_700);
        assert_eq!(gc.look(false), 70.0);
        assert_eq!(gc.look(false), 0.0);
    }

    #[test]
    fn what_is_longer_than_a_look_is_carried_on() {
        let mut gc = Collector::new();
        gc.collect(2, 1, 2_500);
        let shares = [
            gc.look(false),
            gc.look(false),
            gc.look(false),
            gc.look(false),
        ];
        assert_eq!(shares, [100.0, 100.0, 50.0, 0.0]);
    }

    #[test]
    fn one_in_the_background_does_not_count() {
        in_the_background(Collector::new());
        // The server collector does not count them.
        let mut server = Collector::new();
        server.timing.background = None;
        server.look(false);
        in_the_background(server);
    }

    fn in_the_background(mut gc: Collector) {
        gc.collect(0, 1, 10);
        assert_eq!(gc.look(false), 1.0);
        gc.timing.begun[2] += 1;
        gc.timing.last = 2;
        gc.timing.in_background = true;
        assert_eq!(gc.look(true), 0.0);
        // Small ones run while it does.
        gc.collect(0, 2, 10);
        assert_eq!(gc.look(false), 2.0);
        gc.timing.in_background = false;
        if gc.timing.background.is_some() {
            gc.timing.background = Some(1);
        }
        gc.timing.elapsed = [Duration::from_millis(900); 3];
        assert_eq!(gc.look(false), 0.0);
        // The next small one begins, and has not told its length yet.
        gc.timing.begun[0] += 1;
        gc.timing.last = 0;
        assert_eq!(gc.look(false), 1.0);
        gc.collect(2, 1, 100);
        assert_eq!(
            gc.look(false),
            10.0,
            "this one was no background collection"
        );
    }

    #[test]
    fn a_process_that_collected_in_the_background_before_is_not_charged_for_it() {
        let mut time = TimeInGc::default();
        let timing = GcTiming {
            begun: [9, 0, 3],
            last: 2,
            elapsed: [Duration::from_secs(3); 3],
            background: Some(3),
            in_background: false,
        };
        let now = Instant::now();
        assert_eq!(time.share(now, timing, false), None);
        let next = now + Duration::from_secs(1);
        assert_eq!(time.share(next, timing, false), Some(0.0));
        // Counts that fall belong to another process or a torn read: everything begins anew.
        let fallen = GcTiming {
            begun: [0; 3],
            ..timing
        };
        assert_eq!(
            time.share(next + Duration::from_secs(1), fallen, false),
            None
        );
    }
}
