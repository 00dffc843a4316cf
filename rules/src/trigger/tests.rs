//! Steps, siblings, and a trigger taken apart.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::history::Measured;
use crate::reading::Side;
use std::collections::BTreeMap;

#[derive(Default)]
struct Now {
    own: BTreeMap<&'static str, f64>,
    siblings: BTreeMap<&'static str, f64>,
}

impl Now {
    fn of(fact: &'static str, value: f64) -> Self {
        Self {
            own: [(fact, value)].into(),
            ..Self::default()
        }
    }
}

impl History for Now {
    fn now(&self, fact: &str) -> Option<f64> {
        self.own.get(fact).copied()
    }

    fn measure(&self, _: &str, _: Statistic, _: u64) -> Option<Measured> {
        None
    }

    fn siblings(&self, fact: &str) -> Option<f64> {
        self.siblings.get(fact).copied()
    }
}

/// Checks, and marks a capture when it fires.
struct Watched {
    trigger: Trigger,
    clocks: Clocks,
}

impl Watched {
    fn new(text: &str) -> Self {
        let trigger = Trigger::parse(text).unwrap();
        let clocks = trigger.clocks();
        Self { trigger, clocks }
    }

    fn fires(&mut self, now: &Now, second: u64) -> bool {
        let decision = self.trigger.check(now, &mut self.clocks, second * 1000);
        let fires = decision.truth.is_true();
        if fires {
            self.trigger.mark_fired(now, &mut self.clocks);
        }
        fires
    }
}

#[test]
fn each_step_fires_once_and_a_jump_over_two_is_one_capture() {
    let mut watched = Watched::new("private_bytes > steps(1 GB, 2 GB, 3 GB, 4 GB)");
    let gb = |n: f64| Now::of("private_bytes", n * 1e9);
    let values = [
        0.5, 1.0, 1.1, 1.9, 0.2, 1.5, 3.5, 3.5, 3.9, 4.0, 4.1, 9.0, 0.1, 9.0,
    ];
    let fired: Vec<f64> = (0..)
        .zip(values)
        .filter(|(second, value)| watched.fires(&gb(*value), *second))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(fired, [1.1, 3.5, 4.1]);
    assert_eq!(
        watched
            .trigger
            .check(&gb(9.0), &mut watched.clocks, 0)
            .truth,
        Truth::False
    );
    // A new process begins at the first step.
    assert_eq!(watched.trigger.clocks().fired, [0]);
}

#[test]
fn steps_that_wait_for_a_capture_still_hold() {
    let trigger = Trigger::parse("threads > steps(100, 200)").unwrap();
    let mut clocks = trigger.clocks();
    for second in 0..5 {
        let decision = trigger.check(&Now::of("threads", 150.0), &mut clocks, second);
        assert_eq!(decision.truth, Truth::True);
        let step = &decision.evidence[1];
        assert_eq!(
            (step.fact.as_str(), step.text.as_str()),
            ("steps(100, 200)", "100")
        );
    }
}

#[test]
fn steps_fall_under_less_and_may_be_computed() {
    let mut falling = Watched::new("node.available < steps(4 GB, 2 GB)");
    let available = |n: f64| Now::of("node.available", n * 1e9);
    let fired = [5.0, 3.0, 3.0, 1.0, 1.0].map(|n| falling.fires(&available(n), 0));
    assert_eq!(fired, [false, true, false, true, false]);

    let mut computed = Watched::new("limit_used > steps(50% of limit, 75% of limit)");
    let used = |n: f64| Now {
        own: [("limit", 1e9), ("limit_used", n * 1e9)].into(),
        ..Now::default()
    };
    let fired = [0.4, 0.6, 0.6, 0.8].map(|n| computed.fires(&used(n), 0));
    assert_eq!(fired, [false, true, false, true]);
}

#[test]
fn under_a_for_each_step_is_held_anew() {
    let mut watched = Watched::new("threads > steps(100, 200) for 10 s");
    let threads = |n: f64| Now::of("threads", n);
    let fired: Vec<u64> = (0..40)
        .filter(|second| {
            // A burst over both steps at the moment the first one fires, then the second for good.
            let value = if (10..13).contains(second) || *second >= 20 {
                300.0
            } else {
                150.0
            };
            watched.fires(&threads(value), *second)
        })
        .collect();
    assert_eq!(fired, [10, 30]);
}

#[test]
fn what_cannot_be_read_fires_no_step() {
    let mut watched = Watched::new("managed.gen2 > steps(1 GB, 2 GB) or threads > 5");
    assert!(!watched.fires(&Now::of("threads", 1.0), 0));
    assert!(watched.fires(&Now::of("threads", 6.0), 1));
    assert_eq!(watched.clocks.fired, [0]);
}

#[test]
fn siblings_are_compared_with_and_unknown_without_any() {
    let mut watched = Watched::new("private_bytes > 2 * siblings(private_bytes)");
    let mut now = Now::of("private_bytes", 3e9);
    assert!(!watched.fires(&now, 0));
    let alone = watched.trigger.check(&now, &mut watched.clocks, 0);
    assert_eq!(alone.truth, Truth::Unknown);
    assert_eq!(alone.missing, ["siblings(private_bytes)"]);
    now.siblings.insert("private_bytes", 1.4e9);
    let decision = watched.trigger.check(&now, &mut watched.clocks, 0);
    assert_eq!(decision.truth, Truth::True);
    assert!(decision.evidence.iter().any(|e| e.text == "1.4 GB"));
    now.siblings.insert("private_bytes", 1.6e9);
    assert!(!watched.fires(&now, 0));
    assert_eq!(watched.trigger.sibling_facts(), ["private_bytes"]);
    let names: Vec<&str> = watched.trigger.facts().iter().map(|f| f.name).collect();
    assert_eq!(names, ["private_bytes"]);
}

#[test]
fn a_trigger_is_taken_apart_into_its_comparisons() {
    let text = "not (cpu > 50%) and (threads > 100 or fds > 20) for 30 s or private_bytes > steps(1 GB, 2 GB)";
    let trigger = Trigger::parse(text).unwrap();
    let mut clocks = trigger.clocks();
    let mut now = Now::of("threads", 150.0);
    now.own.insert("private_bytes", 1.5e9);
    now.own.insert("fds", 7.0);
    trigger.check(&now, &mut clocks, 0);
    trigger.mark_fired(&now, &mut clocks);
    trigger.check(&now, &mut clocks, 12_000);
    let before = clocks.clone();
    let readings = trigger.readings(&now, &clocks, 12_000);
    assert_eq!(clocks, before);
    let lines: Vec<String> = readings
        .iter()
        .map(|r| {
            let text = |s: &Option<Side>| s.as_ref().map_or("?".to_owned(), |s| s.text.clone());
            format!(
                "{} | {} | {} | {:?} | {:?} | {:?}",
                r.condition,
                text(&r.value),
                text(&r.threshold),
                r.truth,
                r.hold.map(|h| (h.held_ms, h.needed_ms)),
                r.steps,
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "cpu > 50% | ? | 50% | Unknown | None | None",
            "threads > 100 | 150 | 100 | True | Some((Some(12000), 30000)) | None",
            "fds > 20 | 7 | 20 | False | Some((Some(12000), 30000)) | None",
            "private_bytes > steps(1 GB, 2 GB) | 1.5 GB | 2 GB | False | None | Some((1, 2))",
        ]
    );
}

#[test]
fn mistakes_are_shown_with_a_caret_and_a_way_out() {
    for (text, at, says, help) in [
        (
            "private_bytes > steps(2 GB, 1 GB)",
            "1 GB)",
            "must rise",
            "compare with `<`",
        ),
        (
            "node.available < steps(1 GB, 2 GB)",
            "2 GB)",
            "must fall",
            "compare with `>`",
        ),
        (
            "private_bytes > steps(1 GB)",
            "steps(1 GB)",
            "two thresholds",
            "`private_bytes > 1 GB`",
        ),
        (
            "private_bytes > steps(1 GB, 30 s)",
            "30 s",
            "a time span",
            "`30 MB`",
        ),
        (
            "private_bytes == steps(1 GB, 2 GB)",
            "steps",
            "`>` or `<`",
            "private_bytes > steps(",
        ),
        (
            "steps(1 GB, 2 GB) < private_bytes",
            "steps",
            "`>` or `<`",
            "private_bytes > steps(",
        ),
        (
            "private_bytes > step(1 GB, 2 GB)",
            "step(",
            "no function",
            "`steps`",
        ),
        (
            "private_bytes > siblings(private_byte)",
            "private_byte)",
            "no fact",
            "`private_bytes`",
        ),
        (
            "private_bytes > siblings(2 * rss)",
            "2 * rss",
            "name of a fact",
            "siblings(private_bytes)",
        ),
        (
            "private_bytes > 2 * sibling(private_bytes)",
            "sibling(",
            "no function",
            "`siblings`",
        ),
        (
            "managed.handles.pined > 5",
            "managed.handles.pined",
            "no fact",
            "`managed.handles.pinned`",
        ),
    ] {
        refused(text, at, says, help);
    }
}

/// It is refused with a caret under `at`, with what is wrong and what to do.
fn refused(text: &str, at: &str, says: &str, help: &str) {
    let error = Trigger::parse(text).unwrap_err().to_string();
    let column = text.find(at).unwrap();
    let caret = error.lines().find(|l| l.contains('^')).unwrap();
    let written = error.lines().find(|l| l.contains(text)).unwrap();
    assert_eq!(
        caret.find('^').unwrap() - written.find(text).unwrap(),
        column,
        "{error}"
    );
    assert!(error.contains(says) && error.contains(help), "{error}");
}

const QUEUE: &str = "counter(\"System.Runtime/threadpool-queue-length\")";

#[test]
fn a_counter_is_a_live_fact_like_any_other() {
    let text = format!("({QUEUE} > 100 and 2 * {QUEUE} - 1 > 200) for 30 s");
    let mut watched = Watched::new(&text);
    let queue = |n: f64| Now::of(QUEUE, n);
    assert!(!watched.fires(&queue(101.5), 0));
    assert!(watched.fires(&queue(101.5), 30));
    let decision = watched
        .trigger
        .check(&queue(101.5), &mut watched.clocks, 31_000);
    let [evidence] = decision.evidence.as_slice() else {
        panic!("{decision:?}");
    };
    assert_eq!(
        (
            evidence.fact.as_str(),
            evidence.text.as_str(),
            evidence.unit.as_str()
        ),
        (QUEUE, "102", "number")
    );
    assert_eq!(evidence.value, crate::Value::Float(101.5));
    // Nothing came for a while: the time starts over.
    let silent = watched
        .trigger
        .check(&Now::default(), &mut watched.clocks, 32_000);
    assert_eq!(
        (silent.truth, silent.missing),
        (Truth::Unknown, vec![QUEUE.to_owned()])
    );
    assert!(!watched.fires(&queue(200.0), 33));
    let counters = watched.trigger.counters();
    let [counter] = counters.as_slice() else {
        panic!("{counters:?}");
    };
    assert_eq!(
        (counter.provider.as_str(), counter.name.as_str()),
        ("System.Runtime", "threadpool-queue-length")
    );
}

#[test]
fn a_counter_goes_where_facts_go() {
    for (text, windows) in [
        (format!("average({QUEUE}, 10 min) > 4.5"), 1),
        (format!("{QUEUE} > 4 * average({QUEUE}, 7 days)"), 1),
        (format!("rate({QUEUE}, 1 h) > 60/h"), 1),
        (format!("{QUEUE} > steps(0.5, 1.5)"), 0),
        (format!("{QUEUE} > 2 * siblings({QUEUE})"), 0),
        (format!("{QUEUE} * 1 MB > 500 MB or {QUEUE} > threads"), 0),
        (format!("otherwise({QUEUE}, 0) > 0 and known({QUEUE})"), 0),
        (
            "counter('Shop/hits') / counter('Shop/asks') < 0.5".to_owned(),
            0,
        ),
    ] {
        let trigger = Trigger::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(trigger.windows().len(), windows, "{text}");
        assert!(trigger.facts_never_live().is_empty(), "{text}");
        assert!(
            trigger
                .facts()
                .iter()
                .all(|f| f.name == QUEUE || f.name != "threads" || text.contains("threads"))
        );
    }
    let trigger = Trigger::parse(&format!("{QUEUE} > steps(0.25, 0.75)")).unwrap();
    let readings = trigger.readings(&Now::of(QUEUE, 0.5), &trigger.clocks(), 0);
    let side = |side: &Option<Side>| side.as_ref().map(|s| (s.text.clone(), s.unit)).unwrap();
    assert_eq!(side(&readings[0].value), ("0.5".to_owned(), "number"));
    assert_eq!(side(&readings[0].threshold), ("0.25".to_owned(), "number"));
}

#[test]
fn mistakes_about_counters_are_shown() {
    for (text, at, says, help) in [
        (
            "counter(\"cpu-usage\") > 80",
            "\"cpu",
            "slash between",
            "System.Runtime/",
        ),
        (
            "counter(\"\") > 80",
            "\"\"",
            "slash between",
            "System.Runtime/",
        ),
        (
            "counter(\"/x\") > 80",
            "\"/x",
            "no provider",
            "System.Runtime/",
        ),
        ("counter(cpu) > 80", "cpu", "in quotes", "counter(\"System"),
        ("counter() > 80", "counter()", "not 0", "counter(\"System"),
        (
            "counter(\"a/b\", \"c\") > 80",
            "counter(",
            "not 2",
            "counter(\"System",
        ),
        (
            "counter(\"a/b\") > 80%",
            "counter",
            "they cannot be compared",
            "no unit",
        ),
        (
            "counter(\"a/b\") > 100 MB",
            "counter",
            "they cannot be compared",
            "* 1 MB",
        ),
        (
            "average(counter(\"a\"), 1 h) > 1",
            "\"a\"",
            "slash between",
            "System.Runtime/",
        ),
        (
            "counters(\"a/b\") > 1",
            "counters",
            "no function",
            "`counter`",
        ),
    ] {
        refused(text, at, says, help);
    }
}
