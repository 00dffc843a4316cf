//! One look as lines for people: a row for each process, and its triggers below.

use jiff::Timestamp;
use leakhound_collector::dry_run::{Moment, Seen, TriggerState};
use leakhound_rules::units::{
    format_bytes, format_count, format_duration, format_ratio, format_value,
};
use leakhound_rules::vocabulary::Kind;
use leakhound_rules::{Reading, Truth};

/// What a line is, for its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A row.
    Plain,
    /// Names of columns.
    Heading,
    /// A trigger that would fire.
    Fires,
    /// A trigger whose `for` has not held long enough yet.
    Holds,
    /// Details.
    Faint,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Without colors.
    pub text: String,
    /// What it is.
    pub mark: Mark,
}

/// How a column's values are written.
type Cell = fn(&Seen) -> Option<String>;

/// The columns after service and process id.
const COLUMNS: &[(&str, usize, Cell)] = &[
    ("PRIVATE", 9, |s| bytes(s, "private_bytes")),
    ("RSS", 9, |s| bytes(s, "rss")),
    ("GROWTH", 11, |s| {
        s.growth_per_hour
            .map(|v| format_value(v.round(), Kind::BytesPerHour))
    }),
    ("LIMIT", 6, |s| s.facts.get("limit_share").map(format_ratio)),
    ("CPU", 6, |s| s.facts.get("cpu").map(format_ratio)),
    ("THREADS", 7, |s| s.facts.get("threads").map(format_count)),
    ("FDS", 6, |s| s.facts.get("fds").map(format_count)),
    ("MANAGED", 9, |s| bytes(s, "managed.heap")),
    ("FINALIZER", 9, |s| {
        s.facts.get("managed.finalizer_ready").map(format_count)
    }),
];
/// Columns of the name of a service, at least and at most.
const SERVICE_WIDTH: (usize, usize) = (7, 32);
/// Columns of a trigger's state.
const STATE_WIDTH: usize = 18;

fn bytes(seen: &Seen, fact: &str) -> Option<String> {
    seen.facts.get(fact).map(format_bytes)
}

/// The lines of one look.
pub fn lines(moment: &Moment) -> Vec<Line> {
    let mut out = vec![heading(moment)];
    let names = moment.processes.iter().map(|s| s.service.chars().count());
    let width = names
        .max()
        .unwrap_or(0)
        .clamp(SERVICE_WIDTH.0, SERVICE_WIDTH.1);
    if !moment.processes.is_empty() {
        let mut text = format!("{:width$} {:>8}", "SERVICE", "PID");
        for (name, columns, _) in COLUMNS {
            text.push_str(&format!(" {name:>columns$}"));
        }
        out.push(line(text, Mark::Heading));
    }
    for seen in &moment.processes {
        let service: String = seen.service.chars().take(width).collect();
        let mut text = format!("{service:width$} {:>8}", seen.pid);
        for (_, columns, cell) in COLUMNS {
            let cell = cell(seen).unwrap_or_else(|| "-".to_owned());
            text.push_str(&format!(" {cell:>columns$}"));
        }
        out.push(line(text, Mark::Plain));
        if let Some(why) = &seen.blind {
            let text = format!("  live managed values cannot be read: {why}");
            out.push(line(text, Mark::Faint));
        }
        for state in &seen.triggers {
            trigger(state, &mut out);
        }
    }
    for service in &moment.absent {
        out.push(line(
            format!("No process matches `{service}` now."),
            Mark::Faint,
        ));
    }
    for problem in &moment.problems {
        out.push(line(problem.clone(), Mark::Faint));
    }
    out
}

fn line(text: String, mark: Mark) -> Line {
    Line { text, mark }
}

fn heading(moment: &Moment) -> Line {
    let time = Timestamp::from_millisecond(moment.at_ms)
        .map(|t| t.strftime("%H:%M:%S UTC").to_string())
        .unwrap_or_default();
    let n = moment.processes.len();
    let triggers = moment.processes.iter().flat_map(|s| &s.triggers);
    let fires = triggers.filter(|t| t.truth.is_true()).count();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let processes = if n == 1 { "process" } else { "processes" };
    let text = format!(
        "{time}  {n} {processes}, {fires} trigger{} would fire; a dry run, nothing is captured",
        plural(fires)
    );
    line(text, Mark::Heading)
}

fn trigger(state: &TriggerState, out: &mut Vec<Line>) {
    let (word, mark) = word(state);
    let mut text = format!("  {word:STATE_WIDTH$} {}", state.name);
    if state.fired > 0 {
        let plural = if state.fired == 1 { "" } else { "s" };
        text.push_str(&format!(" (fired {} time{plural})", state.fired));
    }
    if let [only] = state.readings.as_slice() {
        text.push_str(&format!(": {}", comparison(only)));
        out.push(line(text, mark));
    } else {
        out.push(line(text, mark));
        for reading in &state.readings {
            let truth = match reading.truth {
                Truth::True => "yes",
                Truth::False => "no",
                Truth::Unknown => "unknown",
            };
            let text = format!("  {:STATE_WIDTH$}   {truth:7} {}", "", comparison(reading));
            out.push(line(text, Mark::Faint));
        }
    }
    if state.truth == Truth::Unknown && !state.missing.is_empty() {
        let text = format!(
            "  {:STATE_WIDTH$}   not known yet: {}",
            "",
            state.missing.join("; ")
        );
        out.push(line(text, Mark::Faint));
    }
}

/// How a trigger stands, in a word or two.
fn word(state: &TriggerState) -> (String, Mark) {
    match state.truth {
        Truth::True => {
            let since = state.true_ms.filter(|ms| *ms > 0);
            let since = since.map_or_else(String::new, |ms| format!(" {}", span(ms)));
            (format!("FIRES{since}"), Mark::Fires)
        }
        Truth::Unknown => ("unknown".to_owned(), Mark::Plain),
        Truth::False => {
            let holds = state.readings.iter().filter_map(|r| r.hold);
            let held = holds.filter_map(|h| Some((h.held_ms?, h.needed_ms)));
            match held.min_by_key(|(held, needed)| needed.saturating_sub(*held)) {
                Some((held, needed)) => {
                    (format!("{} of {}", span(held), span(needed)), Mark::Holds)
                }
                None => ("no".to_owned(), Mark::Plain),
            }
        }
    }
}

fn span(ms: u64) -> String {
    // Tenths of a second are noise here.
    format_duration((ms as f64 / 1e3).floor() * 1e3)
}

/// `private_bytes > 1.5 GB: 1.2 GB against 1.5 GB`.
fn comparison(reading: &Reading) -> String {
    let mut text = reading.condition.clone();
    if let Some(hold) = reading.hold {
        text.push_str(&format!(" for {}", span(hold.needed_ms)));
    }
    let side = |side: &Option<leakhound_rules::Side>| {
        side.as_ref()
            .map_or_else(|| "?".to_owned(), |s| s.text.clone())
    };
    match reading.steps {
        Some((fired, all)) if fired == all => {
            text.push_str(&format!(
                "  {}, all {all} steps have fired",
                side(&reading.value)
            ));
        }
        _ if reading.value.is_some() || reading.threshold.is_some() => {
            text.push_str(&format!(
                "  {} against {}",
                side(&reading.value),
                side(&reading.threshold)
            ));
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakhound_collector::sample::Facts;
    use leakhound_rules::{History, Measured, Statistic, Trigger};

    struct Now(Facts);

    impl History for Now {
        fn now(&self, fact: &str) -> Option<f64> {
            self.0.get(fact)
        }
        fn measure(&self, _: &str, _: Statistic, _: u64) -> Option<Measured> {
            None
        }
    }

    fn state(name: &str, when: &str, facts: &Facts) -> TriggerState {
        let trigger = Trigger::parse(when).unwrap_or_else(|e| panic!("{e}"));
        let mut clocks = trigger.clocks();
        let now = Now(facts.clone());
        trigger.check(&now, &mut clocks, 0);
        let decision = trigger.check(&now, &mut clocks, 12_300);
        TriggerState {
            name: name.to_owned(),
            when: when.to_owned(),
            truth: decision.truth,
            true_ms: decision.truth.is_true().then_some(61_000),
            fired: u32::from(decision.truth.is_true()),
            missing: decision.missing,
            readings: trigger.readings(&now, &clocks, 12_300),
        }
    }

    #[test]
    fn a_look_reads_like_top() {
        let mut facts = Facts::default();
        for (name, value) in [
            ("private_bytes", 1.52e9),
            ("rss", 1.61e9),
            ("limit_share", 0.38),
            ("cpu", 0.12),
            ("threads", 41.0),
            ("fds", 210.0),
            ("managed.heap", 1.2e9),
            ("managed.finalizer_ready", 12_400.0),
        ] {
            facts.set(name, value);
        }
        let moment = Moment {
            at_ms: 1_790_000_000_000,
            processes: vec![Seen {
                service: "Shop.Cart".to_owned(),
                pid: 4711,
                name: "Shop.Cart".to_owned(),
                growth_per_hour: Some(3.4e8),
                blind: None,
                triggers: vec![
                    state("too big", "private_bytes > 1.5 GB", &facts),
                    state("near the limit", "limit_share > 90% for 30 s", &facts),
                    state(
                        "backlog",
                        "managed.finalizer_ready > 10_000 for 1 min",
                        &facts,
                    ),
                    state(
                        "average",
                        "private_bytes > 4 * average(private_bytes, 7 days) and threads > 40",
                        &facts,
                    ),
                ],
                facts,
            }],
            absent: vec!["orders".to_owned()],
            problems: Vec::new(),
        };
        let lines: Vec<String> = lines(&moment).into_iter().map(|l| l.text).collect();
        assert_eq!(
            lines,
            [
                "14:13:20 UTC  1 process, 1 trigger would fire; a dry run, nothing is captured",
                "SERVICE        PID   PRIVATE       RSS      GROWTH  LIMIT    CPU THREADS    FDS   MANAGED FINALIZER",
                "Shop.Cart     4711   1.52 GB   1.61 GB    340 MB/h    38%    12%      41    210    1.2 GB    12,400",
                "  FIRES 1 min 1 s    too big (fired 1 time): private_bytes > 1.5 GB  1.52 GB against 1.5 GB",
                "  no                 near the limit: limit_share > 90% for 30 s  38% against 90%",
                "  12 s of 1 min      backlog: managed.finalizer_ready > 10000 for 1 min  12,400 against 10,000",
                "  unknown            average",
                "                       unknown private_bytes > 4 * average(private_bytes, 7 days)  1.52 GB against ?",
                "                       yes     threads > 40  41 against 40",
                "                       not known yet: average(private_bytes, 7 days)",
                "No process matches `orders` now.",
            ]
        );
    }
}
