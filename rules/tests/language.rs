//! The language as its users meet it: what triggers answer, and what errors look like.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use leakhound_rules::Val;
use leakhound_rules::check::{Environment, condition, expression};
use leakhound_rules::eval::{Evaluation, Reads};
use leakhound_rules::units::Quantity;
use leakhound_rules::vocabulary::list_named;
use leakhound_rules::{
    Diagnostic, FactSheet, History, Measured, Origin, Statistic, Trigger, Truth, Value,
};
use proptest::prelude::*;

/// One sample per second of each fact, the newest last.
#[derive(Default)]
struct Samples(BTreeMap<&'static str, Vec<f64>>);

impl Samples {
    fn with(mut self, fact: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        self.0.insert(fact, values.into_iter().collect());
        self
    }
}

impl History for Samples {
    fn now(&self, fact: &str) -> Option<f64> {
        self.0.get(fact)?.last().copied()
    }

    fn measure(&self, fact: &str, statistic: Statistic, window_ms: u64) -> Option<Measured> {
        let all = self.0.get(fact)?;
        let keep = usize::try_from(window_ms / 1000).unwrap() + 1;
        let window = &all[all.len().saturating_sub(keep)..];
        let covered_ms = (window.len() as u64 - 1) * 1000;
        let value = match statistic {
            Statistic::Average => window.iter().sum::<f64>() / window.len() as f64,
            Statistic::Minimum => window.iter().copied().fold(f64::INFINITY, f64::min),
            Statistic::Maximum => window.iter().copied().fold(0.0, f64::max),
            Statistic::Rate => (window.last()? - window[0]) / (covered_ms as f64 / 3_600_000.0),
        };
        Some(Measured {
            value,
            covered_ms,
            samples: window.len() as u64,
        })
    }
}

fn fires(trigger: &str, samples: &Samples) -> Truth {
    let trigger = Trigger::parse(trigger).unwrap();
    trigger.check(samples, &mut trigger.clocks(), 0).truth
}

#[test]
fn the_examples_of_the_manual_parse_and_work() {
    let mb = 1e6;
    let quiet = Samples::default()
        .with("private_bytes", vec![200.0 * mb; 70_000])
        .with("limit_share", [0.5])
        .with("time_to_limit", [3_600_000.0])
        .with("managed.finalizer_ready", [12.0])
        .with("loh.free", [90.0 * mb])
        .with("loh.committed", [100.0 * mb]);
    let loud = Samples::default()
        .with(
            "private_bytes",
            (0..70_000).map(|i| if i < 69_000 { 300.0 * mb } else { 1600.0 * mb }),
        )
        .with("limit_share", [0.5])
        .with("time_to_limit", [300_000.0])
        .with("managed.finalizer_ready", [12_000.0])
        .with("loh.free", [190.0 * mb])
        .with("loh.committed", [500.0 * mb]);
    for text in [
        "private_bytes > 1.5 GB for 30 s",
        "private_bytes > 4 * average(private_bytes, 7 days)            # \"four times the average\"",
        "limit_share > 85%  or  time_to_limit < 10 min",
        "managed.finalizer_ready > 10_000 for 1 min                    # read from the live process",
        "loh.free > 30% of loh.committed and loh.free > 100 MB",
    ] {
        let trigger = Trigger::parse(text).unwrap();
        for (samples, expected) in [(&quiet, Truth::False), (&loud, Truth::True)] {
            let mut clocks = trigger.clocks();
            trigger.check(samples, &mut clocks, 0);
            let decision = trigger.check(samples, &mut clocks, 60_000);
            assert_eq!(decision.truth, expected, "{text}");
            if expected == Truth::True {
                assert!(!decision.evidence.is_empty(), "{text}");
            }
        }
    }
}

#[test]
fn held_conditions_start_over_when_they_break_or_cannot_be_read() {
    let trigger = Trigger::parse("threads > 100 for 30 s").unwrap();
    let over = Samples::default().with("threads", [200.0]);
    let under = Samples::default().with("threads", [50.0]);
    let blind = Samples::default();
    let mut clocks = trigger.clocks();
    let mut at = |samples: &Samples, s: u64| trigger.check(samples, &mut clocks, s * 1000).truth;
    assert_eq!(at(&over, 0), Truth::False);
    assert_eq!(at(&over, 29), Truth::False);
    assert_eq!(at(&over, 30), Truth::True);
    assert_eq!(at(&under, 31), Truth::False);
    assert_eq!(at(&over, 32), Truth::False);
    assert_eq!(at(&over, 61), Truth::False);
    assert_eq!(at(&over, 62), Truth::True);
    assert_eq!(at(&blind, 63), Truth::Unknown);
    assert_eq!(at(&over, 64), Truth::False);
    assert_eq!(at(&over, 94), Truth::True);
}

#[test]
fn each_for_keeps_its_own_clock_even_when_the_other_side_decides() {
    let trigger = Trigger::parse("threads > 100 for 10 s or fds > 100 for 20 s").unwrap();
    let both = Samples::default()
        .with("threads", [200.0])
        .with("fds", [200.0]);
    let fds = Samples::default()
        .with("threads", [1.0])
        .with("fds", [200.0]);
    let mut clocks = trigger.clocks();
    assert_eq!(trigger.check(&both, &mut clocks, 0).truth, Truth::False);
    assert_eq!(trigger.check(&both, &mut clocks, 10_000).truth, Truth::True);
    assert_eq!(trigger.check(&fds, &mut clocks, 15_000).truth, Truth::False);
    assert_eq!(trigger.check(&fds, &mut clocks, 20_000).truth, Truth::True);
}

#[test]
fn a_window_with_too_little_history_is_unknown() {
    let day: usize = 24 * 3600;
    let trigger = "private_bytes > 4 * average(private_bytes, 7 days)";
    let samples = |n: usize| {
        Samples::default().with(
            "private_bytes",
            (0..n).map(|i| if i + 1 == n { 9e9 } else { 1e9 }),
        )
    };
    assert_eq!(fires(trigger, &samples(10)), Truth::Unknown);
    assert_eq!(fires(trigger, &samples(day / 2)), Truth::Unknown);
    assert_eq!(fires(trigger, &samples(day)), Truth::True);
    assert_eq!(
        fires("rate(private_bytes, 10 s) > 1 GB/h", &samples(2)),
        Truth::Unknown
    );
    let trigger = Trigger::parse(trigger).unwrap();
    let decision = trigger.check(&samples(10), &mut trigger.clocks(), 0);
    assert_eq!(decision.missing, ["average(private_bytes, 7 days)"]);
    assert_eq!(decision.evidence[0].fact, "private_bytes");
}

#[test]
fn rates_minima_and_maxima() {
    // 1 MB a second is 3.6 GB an hour.
    let growing =
        Samples::default().with("private_bytes", (0..100).map(|i| 1e9 + f64::from(i) * 1e6));
    assert_eq!(
        fires("rate(private_bytes, 1 min) > 3.5 GB/h", &growing),
        Truth::True
    );
    assert_eq!(
        fires("rate(private_bytes, 1 min) > 3.7 GB/h", &growing),
        Truth::False
    );
    assert_eq!(
        fires(
            "maximum(private_bytes, 1 min) - minimum(private_bytes, 1 min) == 60 MB",
            &growing
        ),
        Truth::True
    );
    assert_eq!(
        fires("1 GB / rate(private_bytes, 1 min) < 20 min", &growing),
        Truth::True
    );
}

#[test]
fn what_no_process_can_tell_live_is_unknown_and_named() {
    let trigger = Trigger::parse("loh.free > 100 MB or threads > 5").unwrap();
    let names: Vec<&str> = trigger.facts_never_live().iter().map(|f| f.name).collect();
    assert_eq!(names, ["loh.free"]);
    let samples = Samples::default().with("threads", [4.0]);
    assert_eq!(
        trigger.check(&samples, &mut trigger.clocks(), 0).truth,
        Truth::Unknown
    );
    let samples = Samples::default().with("threads", [6.0]);
    assert_eq!(
        trigger.check(&samples, &mut trigger.clocks(), 0).truth,
        Truth::True
    );
}

fn sheet() -> FactSheet {
    let mut sheet = FactSheet::default();
    sheet.int("heap.used", 1_000_000_000);
    sheet.int("heap.live", 400_000_000);
    sheet.int("finalizer.ready", 0);
    sheet.bool("gc.server", true);
    sheet.float("limit_share", 0.5);
    sheet.int("uptime", 7_200_000);
    let row = |kind: &str, generation: &str, count: i64, bytes: i64| {
        [
            ("type".to_owned(), Value::Text(kind.to_owned())),
            ("generation".to_owned(), Value::Text(generation.to_owned())),
            ("count".to_owned(), Value::Int(count)),
            ("bytes".to_owned(), Value::Int(bytes)),
        ]
        .into_iter()
        .collect()
    };
    sheet.lists.insert(
        "pinned".to_owned(),
        vec![
            row("byte[]", "gen2", 3000, 12_000_000),
            row("object[]", "poh", 10, 200_000),
            row("char[]", "gen2", 5, 1_000),
        ],
    );
    sheet.lists.insert("ready".to_owned(), vec![]);
    sheet
}

fn truth(text: &str) -> Truth {
    let sheet = sheet();
    let checked = condition(text, Environment::default())
        .map_err(|f| format!("{text}: {f:?}"))
        .unwrap();
    let quick = Evaluation::new(&sheet).truth(&checked.expr);
    let mut reads = Reads::default();
    let recorded = Evaluation::new(&sheet)
        .recording(&mut reads)
        .truth(&checked.expr);
    assert_eq!(
        quick, recorded,
        "{text}: recording must not change the answer"
    );
    quick
}

#[test]
fn conditions_about_a_sheet() {
    for text in [
        "heap.used > 2 * heap.live",
        "heap.used / heap.live > 2",
        "heap.used / heap.live > 200%",
        "heap.used - heap.live == 600 MB",
        "gc.server",
        "gc.server == true and not (gc.server == false)",
        "max(heap.used, heap.live) == 1 GB and min(heap.used, heap.live, 1 MB) == 1 MB",
        "heap.used / uptime == 500 MB/h",
        "uptime == 2 h",
        "-heap.live < 0",
        "count in pinned == 3",
        "count in pinned where generation == \"gen2\" and count > 4",
        "(count item in pinned where item.generation == 'gen2') == 2",
        "sum bytes in pinned > 12 MB",
        "(sum count in pinned where generation != \"poh\") == 3_005",
        "any count > 2_000 in pinned",
        "any in pinned where type contains 'byte' and count > 2_000",
        "all count > 4 in pinned",
        "all in pinned where count >= 5",
        "(max bytes in pinned where type matches \"*[]\") == 12 MB",
        "(min count in pinned) == 5",
        "(first type in pinned where generation == \"poh\") == \"object[]\"",
        "(first type in pinned) starts_with \"byte\" and (first type in pinned) ends_with \"[]\"",
        "(count in ready) == 0 and (sum bytes in ready) == 0 B and (max bytes in ready) == 0 B",
        "all count > 5 in ready",
        "known(heap.used) and not known(loh.free)",
        "otherwise(loh.free, 5 MB) == 5 MB",
        "only(heap.used, gc.server) == 1 GB",
        "not known(only(heap.used, not gc.server)) and not known(only(heap.used, loh.free > 1 MB))",
        "finalizer.ready == 0",
        "limit_share == 50%",
        "30% of heap.used == 300 MB",
    ] {
        let text = if text.starts_with("count in pinned where") {
            format!("({text}) > 1")
        } else {
            text.to_owned()
        };
        assert_eq!(truth(&text), Truth::True, "{text}");
    }
    for text in [
        "heap.used < heap.live",
        "any in ready",
        "any count > 5_000 in pinned",
        "all count > 5 in pinned",
        "not gc.server",
        "(first type in pinned) matches \"?yte\"",
    ] {
        assert_eq!(truth(text), Truth::False, "{text}");
    }
}

#[test]
fn unknown_is_neither_true_nor_false() {
    for (text, expected) in [
        ("loh.free > 1 MB", Truth::Unknown),
        ("not (loh.free > 1 MB)", Truth::Unknown),
        ("loh.free > 1 MB and heap.used > 5 GB", Truth::False),
        ("heap.used > 5 GB and loh.free > 1 MB", Truth::False),
        ("loh.free > 1 MB and heap.used > 5 MB", Truth::Unknown),
        ("loh.free > 1 MB or heap.used > 5 MB", Truth::True),
        ("loh.free > 1 MB or heap.used > 5 GB", Truth::Unknown),
        ("heap.used / finalizer.ready > 1 MB", Truth::Unknown),
        ("any in types where bytes > 1 MB", Truth::Unknown),
        ("all in types where bytes > 1 MB", Truth::Unknown),
        // No row has this column: whether an element counts is unknown.
        ("any in pinned where free_nearby > 1 MB", Truth::Unknown),
        (
            "any in pinned where free_nearby > 1 MB or count > 2_000",
            Truth::True,
        ),
        (
            "all in pinned where free_nearby > 1 MB and count > 2_000",
            Truth::False,
        ),
        ("(sum free_nearby in pinned) >= 0 B", Truth::Unknown),
        ("(min bytes in ready) >= 0 B", Truth::Unknown),
        ("(first type in ready) == \"x\"", Truth::Unknown),
    ] {
        assert_eq!(truth(text), expected, "{text}");
    }
}

#[test]
fn every_fact_that_was_read_becomes_evidence() {
    let sheet = sheet();
    let row = &sheet.lists["pinned"][0];
    let environment = Environment {
        element: list_named("pinned"),
        ..Environment::default()
    };
    let checked = condition(
        "count > 100 and (sum bytes in pinned) > 1 MB and item.bytes >= 10% of heap.live and loh.free > 1 MB",
        environment,
    )
    .unwrap();
    let mut reads = Reads::default();
    let truth = Evaluation::new(&sheet)
        .element(Some(row))
        .recording(&mut reads)
        .truth(&checked.expr);
    assert_eq!(truth, Truth::False);
    let seen: Vec<String> = reads
        .evidence
        .iter()
        .map(|e| format!("{} {} = {}", e.fact, e.unit, e.text))
        .collect();
    assert_eq!(
        seen,
        [
            "pinned.count count = 3,000",
            "sum bytes in pinned bytes = 12.2 MB",
            "pinned.bytes bytes = 12 MB",
            "heap.live bytes = 400 MB",
        ]
    );
    assert_eq!(reads.missing, ["loh.free"]);
}

#[test]
fn an_outer_element_can_be_compared_with_inner_ones() {
    let sheet = sheet();
    let environment = Environment {
        element: list_named("pinned"),
        ..Environment::default()
    };
    let checked = expression(
        "count in pinned where item.bytes < outer.bytes",
        environment,
    )
    .unwrap();
    let value = Evaluation::new(&sheet)
        .element(Some(&sheet.lists["pinned"][0]))
        .value(&checked.expr);
    assert_eq!(value, Val::Number(2.0));
}

fn refused(text: &str, trigger: bool) -> Diagnostic {
    let params: BTreeMap<String, Quantity> =
        [("floor".to_owned(), Quantity::parse("50 MB").unwrap())].into();
    let environment = Environment {
        trigger,
        params: Some(&params),
        ..Environment::default()
    };
    let fault = condition(text, environment).map(|_| ()).unwrap_err();
    Origin::alone("rule.toml", text).diagnostic(fault)
}

#[test]
fn mixed_units_are_refused_with_a_repair() {
    for (text, message, help) in [
        (
            "loh.free > 30 s",
            "`loh.free` is a number of bytes and `30 s` is a time span: they cannot be compared",
            "did you mean `30 MB`?",
        ),
        (
            "private_bytes > 1500000000",
            "plain number",
            "did you mean `1.5 GB`?",
        ),
        (
            "private_bytes > 500",
            "plain number",
            "did you mean `500 MB`?",
        ),
        ("limit_share > 85", "plain number", "did you mean `85%`?"),
        ("limit_share > 0.85", "plain number", "did you mean `85%`?"),
        ("loh.free > 30%", "a share", "`30% of memory.commit`"),
        ("threads > 5 MB", "a count", "did you mean `5`?"),
        ("uptime > 10", "a time span", "did you mean `10 s`?"),
        (
            "growth.native_rate > 100 MB",
            "bytes per hour",
            "did you mean `100 MB/h`?",
        ),
        (
            "loh.free > uptime",
            "cannot be compared",
            "such as `100 MB`",
        ),
        (
            "loh.free + threads > 1 MB",
            "cannot be added",
            "such as `100 MB`",
        ),
        ("loh.free * heap.used > 1 MB", "cannot be multiplied", ""),
        (
            "30 of loh.free > 1 MB",
            "`of` needs a share",
            "did you mean `30%`?",
        ),
        (
            "loh.free",
            "a condition is expected, and this is a number of bytes",
            "`loh.free > 100 MB`",
        ),
        (
            "loh.free and threads > 1",
            "`and` needs a condition",
            "`loh.free > 100 MB`",
        ),
        ("gc.server > 1", "yes or no", ""),
        ("runtime.name > \"a\"", "compares sizes", "`==`"),
        ("runtime.name contains 5", "compares texts", ""),
        ("threads matches \"a\"", "compares texts", ""),
        (
            "loh.fre > 1 MB",
            "there is no fact called `loh.fre`",
            "did you mean `loh.free`?",
        ),
        ("xyzzy > 1 MB", "no fact called", "leakhound rules facts"),
        (
            "any in pined where count > 1",
            "no list called `pined`",
            "did you mean `pinned`?",
        ),
        (
            "any in pinned where cuont > 1",
            "no fact called `cuont`",
            "did you mean `count`?",
        ),
        (
            "any in pinned where item.cuont > 1",
            "has no column",
            "did you mean `item.count`?",
        ),
        ("pinned.count > 5", "is a list", "`max count in pinned`"),
        ("item.count > 5", "no element", "for_each"),
        (
            "params.flor > 5 MB",
            "no parameter",
            "did you mean `params.floor`?",
        ),
        (
            "averge(threads, 1 h) > 5",
            "no function",
            "did you mean `average`?",
        ),
        ("average(threads, 1 h) > 5", "asks about time", "trigger"),
        ("threads > 5 for 1 s", "asks about time", "trigger"),
        (
            "counter(\"System.Runtime/cpu-usage\") > 5",
            "read from a running process",
            "trigger",
        ),
        ("min(threads) > 1", "of one value", "min bytes in pinned"),
        ("known(threads, fds)", "takes 1 arguments", "known("),
        (
            "any (any (any in types) in types) in types",
            "more than 2 lists",
            "",
        ),
    ] {
        let shown = refused(text, false);
        assert!(shown.message.contains(message), "{text}: {shown}");
        assert!(
            shown.help.clone().unwrap_or_default().contains(help),
            "{text}: {shown}"
        );
    }
    for (text, message) in [
        (
            "any in pinned where count > 1",
            "lists are read from a dump",
        ),
        ("average(threads * 2, 1 h) > 5", "needs the name of a fact"),
        ("average(threads, 5) > 5", "needs a time span"),
        ("average(gc.server, 1 h)", "has no average"),
        ("rate(cpu, 1 h) > 5", "has no rate"),
        ("average(thread, 1 h) > 5", "no fact called"),
    ] {
        assert!(refused(text, true).message.contains(message), "{text}");
    }
    assert!(
        condition("growth.native > 0", Environment::default()).is_ok(),
        "0 has every unit"
    );
}

#[test]
fn an_error_shows_file_line_caret_and_suggestion() {
    insta::assert_snapshot!(refused("heap.used > 1 GB and\nloh.free > 30 s", false), @r"
    error: `loh.free` is a number of bytes and `30 s` is a time span: they cannot be compared
     --> rule.toml:2:1
      |
    2 | loh.free > 30 s
      | ^^^^^^^^^^^^^^^
      = help: did you mean `30 MB`?
    ");
    insta::assert_snapshot!(refused("private_byets > 1.5 GB", true), @r"
    error: there is no fact called `private_byets`
     --> rule.toml:1:1
      |
    1 | private_byets > 1.5 GB
      | ^^^^^^^^^^^^^
      = help: did you mean `private_bytes`?
    ");
    insta::assert_snapshot!(refused("private_bytes > 1.5 GBB", true), @r"
    error: `GBB` is no unit
     --> rule.toml:1:21
      |
    1 | private_bytes > 1.5 GBB
      |                     ^^^
      = help: did you mean `1.5 GB`?
    ");
}

proptest! {
    #[test]
    fn checking_and_evaluating_never_panics(words in prop::collection::vec(prop::sample::select(vec![
        "heap.used", "loh.free", "threads", "gc.server", "runtime.name", "limit_share", "uptime", "count", "bytes",
        "item.bytes", "(", ")", "and", "or", "not", "any", "in", "pinned", "where", "sum", "first", "type", "for",
        "1 s", "5", "1 GB", "30%", "of", "<", "==", "+", "-", "*", "/", "known", "max", ",", "average", "\"a\"",
        "matches",
    ]), 0..14), trigger: bool) {
        let text = words.join(" ");
        let environment = Environment { trigger, ..Environment::default() };
        if let Ok(checked) = expression(&text, environment) {
            let sheet = sheet();
            let quick = Evaluation::new(&sheet).truth(&checked.expr);
            let mut reads = Reads::default();
            prop_assert_eq!(quick, Evaluation::new(&sheet).recording(&mut reads).truth(&checked.expr));
        }
    }
}
