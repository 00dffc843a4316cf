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
//! Words of that variable: runtimes; `server` for server GC beside workstation GC; `resume` to go on with a matrix that was stopped;
//! `held-out` for those services alone. `LEAKHOUND_ACCURACY_ONLY=static,timer` takes services whose names begin so;
//! `LEAKHOUND_ACCURACY_KEEP=DIR` keeps what was captured and said. A part that is run is laid over what `results.tsv` has. The tables
//! alone, after a change of texts or reasons: `LEAKHOUND_UPDATE=1 cargo test --test accuracy tables`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod calibration;
mod journal;
mod run;
mod score;
mod table;

use journal::Journal;
use leakhound_testbed::targets::{self, GcChoice};
use leakhound_testbed::{Target, Version};
use run::{Collector, Setting};
use score::Outcome;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Services that run at once: as many as there are processors, and not so many that they slow each other down.
const AT_ONCE: usize = 2;

/// Every service with a known answer, of those asked for.
fn corpus() -> Vec<Target> {
    let mut all = targets_with_answers();
    if let Ok(only) = std::env::var("LEAKHOUND_ACCURACY_ONLY") {
        all.retain(|target| only.split(',').any(|start| target.name.starts_with(start)));
    }
    all
}

/// One runtime for each service: over the corpus every runtime has its turn. Services held out are for the matrix.
fn slice(corpus: &[Target]) -> Vec<(&Target, Setting)> {
    let known = corpus.iter().filter(|target| !target.held_out);
    let runs = known.enumerate().map(|(at, target)| {
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
        let known = ["server", "resume", "held-out"].contains(word)
            || Version::ALL.iter().any(|v| v.short() == *word);
        assert!(
            known,
            "LEAKHOUND_ACCURACY: {word:?} is no runtime, and not `server`, `resume` or `held-out`"
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
                    && (target.held_out || !words.contains(&"held-out"))
                    && (collector == Collector::Workstation || target.card.gc == GcChoice::Any)
            });
            if words.contains(&version.short()) {
                runs.extend(wanted.map(|target| (target, Setting { version, collector })));
            }
        }
    }
    runs
}

/// Runs them, some at once; a line for each as it is done. A run that fails takes no other with it: `Err` says what it said.
fn take(runs: &[(&Target, Setting)], journal: Option<&Journal>) -> Vec<Result<Outcome, String>> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    let outcomes: Mutex<BTreeMap<usize, Result<Outcome, String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((target, setting)) = runs.get(at) else {
                        break;
                    };
                    let outcome = match journal.and_then(|j| j.find(target, *setting)) {
                        Some(before) => Ok(before),
                        None => attempt(target, *setting),
                    };
                    if let (Some(journal), Ok(outcome)) = (journal, &outcome) {
                        journal.add(outcome);
                    }
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let line = outcome.as_ref().map_or_else(String::clone, Outcome::line);
                    let seconds = began.elapsed().as_secs();
                    println!("{count} of {}, {seconds} s: {line}", runs.len());
                    outcomes.lock().unwrap().insert(at, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_values().collect()
}

fn attempt(target: &Target, setting: Setting) -> Result<Outcome, String> {
    let run = std::panic::AssertUnwindSafe(|| run::diagnose(target, setting));
    std::panic::catch_unwind(run).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let (runtime, collector) = (setting.version.short(), setting.collector.name());
        format!(
            "{} on {runtime}, {collector} GC, did not run: {}",
            target.name,
            said.unwrap_or("it panicked")
        )
    })
}

#[test]
fn the_right_cause_is_first_and_nobody_is_alarmed_in_vain() {
    let corpus = corpus();
    let words = std::env::var("LEAKHOUND_ACCURACY").ok();
    let runs = match &words {
        Some(words) => matrix(&corpus, words),
        None => slice(&corpus),
    };
    let mut wanted: Vec<Target> = runs.iter().map(|(target, _)| (*target).clone()).collect();
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    wanted.dedup_by(|a, b| a.name == b.name);
    targets::compile(&wanted, None, &mut |_| {}).unwrap();
    let journal = words.as_deref().map(|words| {
        let resumes = words.split_whitespace().any(|word| word == "resume");
        Journal::open(resumes)
    });
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for outcome in take(&runs, journal.as_ref()) {
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(said) => failed.push(said),
        }
    }
    if let Some(journal) = journal {
        table::write(&outcomes);
        if failed.is_empty() {
            journal.done();
        }
    }
    let reasons = table::reasons();
    let may_be_wrong: Vec<&str> = corpus
        .iter()
        .filter(|target| target.held_out)
        .map(|target| target.name.as_str())
        .chain(reasons.now.iter().map(|reason| reason.service.as_str()))
        .collect();
    let wrong = outcomes
        .iter()
        .filter(|outcome| !outcome.is_right() && !may_be_wrong.contains(&outcome.service.as_str()))
        .map(Outcome::line);
    failed.extend(wrong);
    assert!(
        failed.is_empty(),
        "{} of {} are wrong:\n{}",
        failed.len(),
        runs.len(),
        failed.join("\n")
    );
}

#[test]
fn the_tables_say_what_was_measured() {
    if std::env::var_os("LEAKHOUND_UPDATE").is_some() {
        table::write(&[]);
    }
    table::check(&targets_with_answers());
}

fn targets_with_answers() -> Vec<Target> {
    let mut all = targets::corpus().unwrap();
    all.extend(targets::all().unwrap());
    all.extend(targets::held_out().unwrap());
    all.retain(|target| {
        target.card.expect.category.is_some() || !target.card.expect.verdict.is_empty()
    });
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
