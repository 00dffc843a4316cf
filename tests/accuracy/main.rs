//! How often the diagnosis is right: every service of the corpus (`services/` here and `../targets/`), run on real runtimes,
//! captured and diagnosed by the built program, and scored.
//!
//! `cargo test --test accuracy` takes each service on one runtime, the runtimes in turn. The whole matrix, which also writes
//! `results.tsv` and the tables in `README.md` here and in the project's:
//!
//! ```text
//! LEAKHOUND_ACCURACY="3.1 8 9 10 server" cargo test --test accuracy -- --nocapture
//! ```
//!
//! Words of that variable: runtimes, and `server` for server GC beside workstation GC. `LEAKHOUND_ACCURACY_ONLY=static,timer`
//! takes services whose names begin so; `LEAKHOUND_ACCURACY_KEEP=DIR` keeps what was captured and said.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod run;
mod score;
mod table;

use leakhound_testbed::targets::{self, GcChoice};
use leakhound_testbed::{Target, Version};
use run::{Collector, Setting};
use score::Outcome;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Services that run at once: as many as there are processors, and not so many that they slow each other down.
const AT_ONCE: usize = 2;

/// Every service with a known answer.
fn corpus() -> Vec<Target> {
    let mut all = targets::corpus().unwrap();
    all.extend(targets::all().unwrap());
    all.retain(|target| {
        target.card.expect.category.is_some() || !target.card.expect.verdict.is_empty()
    });
    if let Ok(only) = std::env::var("LEAKHOUND_ACCURACY_ONLY") {
        all.retain(|target| only.split(',').any(|start| target.name.starts_with(start)));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// One runtime for each service: over the corpus every runtime has its turn.
fn slice(corpus: &[Target]) -> Vec<(&Target, Setting)> {
    let runs = corpus.iter().enumerate().map(|(at, target)| {
        let runtimes: Vec<Version> = Version::ALL
            .into_iter()
            .filter(|version| target.runs_on(*version))
            .collect();
        let setting = Setting {
            version: runtimes[at % runtimes.len()],
            collector: Collector::Workstation,
        };
        (target, setting)
    });
    runs.collect()
}

/// Everything that `words` ask for.
fn matrix<'c>(corpus: &'c [Target], words: &str) -> Vec<(&'c Target, Setting)> {
    let words: Vec<&str> = words.split_whitespace().collect();
    for word in &words {
        let known = *word == "server" || Version::ALL.iter().any(|v| v.short() == *word);
        assert!(
            known,
            "LEAKHOUND_ACCURACY: {word:?} is no runtime and not `server`"
        );
    }
    let mut runs = Vec::new();
    for collector in [Collector::Workstation, Collector::Server] {
        if collector == Collector::Server && !words.contains(&"server") {
            continue;
        }
        for version in Version::ALL {
            let wanted = corpus.iter().filter(|target| {
                target.runs_on(version)
                    && (collector == Collector::Workstation || target.card.gc == GcChoice::Any)
            });
            if words.contains(&version.short()) {
                runs.extend(wanted.map(|target| (target, Setting { version, collector })));
            }
        }
    }
    runs
}

/// Runs them, some at once; a line for each as it is done.
fn take(runs: &[(&Target, Setting)]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((target, setting)) = runs.get(at) else {
                        break;
                    };
                    let outcome = run::diagnose(target, *setting);
                    println!("{}", outcome.line());
                    outcomes.lock().unwrap().insert(at, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_values().collect()
}

#[test]
fn the_right_cause_is_first_and_nobody_is_alarmed_in_vain() {
    let corpus = corpus();
    let words = std::env::var("LEAKHOUND_ACCURACY").ok();
    let runs = match &words {
        Some(words) => matrix(&corpus, words),
        None => slice(&corpus),
    };
    targets::compile(&corpus, None, &mut |_| {}).unwrap();
    let outcomes = take(&runs);
    if words.is_some() {
        table::write(&outcomes);
    }
    let known: Vec<&str> = corpus
        .iter()
        .filter(|target| target.card.expect.known_miss.is_some())
        .map(|target| target.name.as_str())
        .collect();
    let wrong: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.is_right() && !known.contains(&outcome.service.as_str()))
        .map(Outcome::line)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} are wrong:\n{}",
        wrong.len(),
        outcomes.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_tables_say_what_was_measured() {
    table::check(&targets_with_answers());
}

fn targets_with_answers() -> Vec<Target> {
    let mut all = targets::corpus().unwrap();
    all.extend(targets::all().unwrap());
    all.retain(|target| {
        target.card.expect.category.is_some() || !target.card.expect.verdict.is_empty()
    });
    all
}
