//! Where the thread that reads leaves values, and the watcher finds them.

use leakhound_rules::diagnostic::nearest;
use leakhound_rules::vocabulary::Counter;
use std::collections::{BTreeMap, BTreeSet};
#[cfg(unix)]
use std::net::Shutdown;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names of one source that are remembered, to tell what could have been meant.
const MAX_NAMES: usize = 64;
/// Longest such name.
const MAX_NAME_BYTES: usize = 128;
/// Names that are told.
const SHOWN_NAMES: usize = 8;

/// How old a value may be: three intervals missed, and a little for what is late.
pub(super) fn stale_after(every: Duration) -> Duration {
    every * 7 / 2
}

/// The values of the counters of one process.
pub(super) struct Board {
    wanted: Vec<&'static Counter>,
    every: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    session: Session,
    /// Of each counter: what came last, and when.
    values: Vec<Option<(f64, Instant)>>,
    /// Of each source: the names of its counters.
    names: BTreeMap<String, BTreeSet<String>>,
    /// To end a read that waits.
    #[cfg(unix)]
    stream: Option<UnixStream>,
}

/// How it stands with the process.
#[derive(Default)]
#[cfg_attr(windows, allow(dead_code))]
enum Session {
    /// It was not asked yet.
    #[default]
    New,
    /// It sends since then.
    Open(Instant),
    /// It does not, and why.
    Failed(String),
}

// On Windows nobody writes here yet.
#[cfg_attr(windows, allow(dead_code))]
impl Board {
    pub fn new(wanted: &[&'static Counter], every: Duration) -> Self {
        Self {
            wanted: wanted.to_vec(),
            every,
            state: Mutex::new(State {
                values: vec![None; wanted.len()],
                ..State::default()
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interval that the process is asked for.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// The sources to be asked, each once.
    pub fn providers(&self) -> BTreeSet<&'static str> {
        self.wanted.iter().map(|c| c.provider.as_str()).collect()
    }

    /// A value came.
    pub fn note(&self, provider: &str, name: &str, value: f64, now: Instant) {
        let mut state = self.state();
        let mut is_known = false;
        for (counter, slot) in self.wanted.iter().zip(&mut state.values) {
            if counter.provider == provider {
                is_known = true;
                if counter.name == name {
                    *slot = Some((value, now));
                }
            }
        }
        // Names are shown to people: one that would write to their terminals is none.
        let is_name = name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control);
        if !is_known || !is_name {
            return;
        }
        // Sources are among those that were asked, so there are few.
        let names = state.names.entry(provider.to_owned()).or_default();
        if names.len() < MAX_NAMES && !names.contains(name) {
            names.insert(name.to_owned());
        }
    }

    /// What is known now: each counter's value, or why there is none.
    pub fn read(&self, now: Instant) -> Vec<Result<f64, String>> {
        let state = self.state();
        let each = self.wanted.iter().zip(&state.values);
        each.map(|(counter, value)| match value {
            Some((value, at)) if now.saturating_duration_since(*at) <= stale_after(self.every) => {
                if value.is_finite() {
                    Ok(*value)
                } else {
                    Err("the program says that it is no number".to_owned())
                }
            }
            _ => Err(self.why(counter, *value, &state, now)),
        })
        .collect()
    }

    fn why(
        &self,
        counter: &Counter,
        value: Option<(f64, Instant)>,
        state: &State,
        now: Instant,
    ) -> String {
        let since = match &state.session {
            Session::New => return "the process was not asked yet".to_owned(),
            Session::Failed(reason) => return reason.clone(),
            Session::Open(since) => *since,
        };
        if let Some((_, at)) = value {
            let age = now.saturating_duration_since(at).as_secs();
            return format!("its last value is {age} s old");
        }
        if now.saturating_duration_since(since) <= stale_after(self.every) {
            return "no value came yet".to_owned();
        }
        let Some(names) = state.names.get(&counter.provider) else {
            return format!(
                "the process has no event source called `{}` that tells counters",
                counter.provider
            );
        };
        let (provider, name) = (&counter.provider, &counter.name);
        if let Some(near) = nearest(name, names.iter().map(String::as_str)) {
            return format!("`{provider}` has no counter called `{name}`; did you mean `{near}`?");
        }
        let mut shown: Vec<&str> = names.iter().take(SHOWN_NAMES).map(String::as_str).collect();
        if names.len() > shown.len() {
            shown.push("…");
        }
        format!(
            "`{provider}` has no counter called `{name}`; it has {}",
            shown.join(", ")
        )
    }

    /// The process does not send, and why.
    pub fn fail(&self, reason: String) {
        let mut state = self.state();
        state.session = Session::Failed(reason);
        #[cfg(unix)]
        {
            state.stream = None;
        }
    }

    /// The process sends on this connection from now on. False when nobody wants it any more.
    #[cfg(unix)]
    pub fn open(&self, stream: UnixStream, now: Instant) -> bool {
        let mut state = self.state();
        if !state.is_stopped {
            state.session = Session::Open(now);
            state.stream = Some(stream);
        }
        !state.is_stopped
    }

    /// Waits, unless told to stop. False when nobody wants it any more.
    #[cfg(unix)]
    pub fn pause(&self, wait: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), wait, |state| !state.is_stopped);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_stopped
    }

    /// Ends what reads, now or as soon as it looks.
    pub fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        #[cfg(unix)]
        if let Some(stream) = state.stream.take() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_rules::vocabulary::counter::counter;

    fn board(paths: &[&str]) -> Board {
        let wanted: Vec<&'static Counter> = paths.iter().map(|p| counter(p).unwrap()).collect();
        Board::new(&wanted, Duration::from_secs(2))
    }

    #[cfg(unix)]
    #[test]
    fn a_value_is_known_until_three_more_are_missing() {
        let board = board(&["Shop/waiting"]);
        let (stream, _other) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(
            board.read(at(0)),
            [Err("the process was not asked yet".to_owned())]
        );
        assert!(board.open(stream, at(0)));
        assert_eq!(board.read(at(6_900)), [Err("no value came yet".to_owned())]);
        board.note("Shop", "waiting", 7.5, at(7_000));
        board.note("Shop", "waitin", 8.5, at(7_000));
        board.note("Shops", "waiting", 9.5, at(7_000));
        assert_eq!(board.read(at(7_000)), [Ok(7.5)]);
        assert_eq!(board.read(at(13_900)), [Ok(7.5)]);
        assert_eq!(
            board.read(at(15_000)),
            [Err("its last value is 8 s old".to_owned())]
        );
        board.note("Shop", "waiting", f64::NAN, at(16_000));
        assert!(board.read(at(16_000))[0].is_err());
        board.fail("the runtime ended the session".to_owned());
        assert_eq!(
            board.read(at(30_000)),
            [Err("the runtime ended the session".to_owned())]
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_is_misspelt_is_told_with_what_there_is() {
        let board = board(&[
            "Shop/wating",
            "Shp/waiting",
            "Shop/orders",
            "Shop/cpu-usage",
        ]);
        let (stream, _other) = UnixStream::pair().unwrap();
        let now = Instant::now();
        assert!(board.open(stream, now));
        for (name, value) in [("waiting", 1.0), ("orders", 2.0)] {
            board.note("Shop", name, value, now + Duration::from_secs(7));
        }
        let found = board.read(now + Duration::from_secs(8));
        let [Err(counter), Err(source), Ok(orders), Err(other)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(
            counter,
            "`Shop` has no counter called `wating`; did you mean `waiting`?"
        );
        assert!(source.contains("no event source called `Shp`"), "{source}");
        assert_eq!(*orders, 2.0);
        assert!(other.ends_with("it has orders, waiting"), "{other}");
    }

    #[test]
    fn names_that_a_program_invents_are_not_kept_without_end() {
        let board = board(&["Shop/waiting"]);
        board.note("Shop", &"x".repeat(1_000), 1.0, Instant::now());
        board.note("Shop", "\u{1b}[2J", 1.0, Instant::now());
        assert!(board.state().names.is_empty());
        for n in 0..10_000 {
            board.note("Shop", &format!("counter-{n}"), 1.0, Instant::now());
            board.note(&format!("Shop-{n}"), "waiting", 1.0, Instant::now());
        }
        let state = board.state();
        assert_eq!(state.names.len(), 1);
        assert_eq!(state.names["Shop"].len(), MAX_NAMES);
    }

    #[cfg(unix)]
    #[test]
    fn who_stops_waits_for_nobody() {
        use std::io::Read;
        let board = board(&["Shop/waiting"]);
        let (mut ours, _other) = UnixStream::pair().unwrap();
        assert!(board.open(ours.try_clone().unwrap(), Instant::now()));
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || ours.read(&mut [0; 8]).unwrap());
            board.stop();
            assert_eq!(reading.join().unwrap(), 0);
        });
        assert!(!board.pause(Duration::from_secs(600)));
        let (late, _other) = UnixStream::pair().unwrap();
        assert!(!board.open(late, Instant::now()));
    }
}
