//! The tables: by category for the project's README, and everything for the README beside this file. They are made of
//! `results.tsv`, one line for each run.

use crate::score::Outcome;
use leakhound_testbed::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- accuracy -->\n";
const END: &str = "<!-- end -->";
const RUNTIMES: [&str; 4] = ["3.1", "8", "9", "10"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accuracy")
}

fn results() -> PathBuf {
    folder().join("results.tsv")
}

/// Makes the text of a table.
type Render = fn(&[Outcome], &[Target]) -> String;

fn pages() -> [(PathBuf, Render); 2] {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    [(project, short), (folder().join("README.md"), long)]
}

fn read() -> Vec<Outcome> {
    let text = std::fs::read_to_string(results()).unwrap_or_default();
    text.lines().map(Outcome::parse).collect()
}

/// Lays new outcomes over those that are there, and writes them and both tables.
pub fn write(outcomes: &[Outcome]) {
    let key = |o: &Outcome| {
        let runtime = RUNTIMES.iter().position(|runtime| *runtime == o.runtime);
        (o.service.clone(), o.collector == "server", runtime)
    };
    let targets = crate::targets_with_answers();
    let known: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let mut all: BTreeMap<_, Outcome> = read()
        .into_iter()
        .filter(|outcome| known.contains(outcome.service.as_str()))
        .map(|outcome| (key(&outcome), outcome))
        .collect();
    all.extend(outcomes.iter().map(|o| (key(o), o.clone())));
    let all: Vec<Outcome> = all.into_values().collect();
    let lines: String = all.iter().map(|outcome| outcome.line() + "\n").collect();
    std::fs::write(results(), lines).unwrap();
    for (page, render) in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let table = render(&all, &targets);
        println!("{table}");
        std::fs::write(&page, replace(&text, &table, &page)).unwrap();
    }
}

/// Both pages show what `results.tsv` says, and every service has been run.
pub fn check(targets: &[Target]) {
    let all = read();
    for target in targets {
        assert!(
            all.iter().any(|outcome| outcome.service == target.name),
            "{} was never run: LEAKHOUND_ACCURACY=8 LEAKHOUND_ACCURACY_ONLY={} cargo test --test accuracy",
            target.name,
            target.name
        );
    }
    for (page, render) in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        assert_eq!(
            replace(&text, &render(&all, targets), &page),
            text,
            "{} is stale: run any part of the corpus with LEAKHOUND_ACCURACY",
            page.display()
        );
    }
}

fn replace(text: &str, table: &str, page: &Path) -> String {
    let begin = text.find(BEGIN).map(|at| at + BEGIN.len());
    let begin = begin.unwrap_or_else(|| panic!("{} has no {BEGIN}", page.display()));
    let end = begin + text[begin..].find(END).unwrap();
    format!("{}{table}{}", &text[..begin], &text[end..])
}

/// What a service is for: the category of its fault.
fn kind(target: &Target) -> String {
    match (&target.card.expect.category, &target.card.expect.also) {
        (None, _) => "none (looks suspicious)".to_owned(),
        (Some(_), Some(_)) => "two faults at once".to_owned(),
        (Some(category), None) => category.clone(),
    }
}

#[derive(Default)]
struct Tally {
    services: BTreeSet<String>,
    runs: usize,
    first: usize,
    read: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.services.insert(outcome.service.clone());
        self.runs += 1;
        self.first += usize::from(outcome.is_right());
        self.read += usize::from(outcome.is_read());
    }
}

fn percent(part: usize, whole: usize) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.1}%", part as f64 * 100.0 / whole as f64),
    }
}

/// The table by category.
fn short(all: &[Outcome], targets: &[Target]) -> String {
    let kinds: BTreeMap<&str, String> = targets
        .iter()
        .map(|target| (target.name.as_str(), kind(target)))
        .collect();
    let mut by_kind: BTreeMap<(bool, &str), Tally> = BTreeMap::new();
    let mut faults = Tally::default();
    let mut well = Tally::default();
    for outcome in all {
        let Some(kind) = kinds.get(outcome.service.as_str()) else {
            continue;
        };
        let healthy = kind.starts_with("none");
        by_kind
            .entry((healthy || kind.starts_with("two"), kind))
            .or_default()
            .add(outcome);
        if healthy {
            well.add(outcome);
        } else {
            faults.add(outcome);
        }
    }
    let mut text = format!(
        "{} services with a fault, {} runs: the right cause first in {}, among the first three in {}. {} healthy services that look \
         suspicious, {} runs: {} false alarms.\n\n",
        faults.services.len(),
        faults.runs,
        percent(faults.first, faults.runs),
        percent(faults.read, faults.runs),
        well.services.len(),
        well.runs,
        well.runs - well.first,
    );
    text.push_str(
        "| fault | services | runs | right first | in the first three |\n|---|---|---|---|---|\n",
    );
    for ((_, kind), tally) in by_kind {
        let _ = writeln!(
            text,
            "| {kind} | {} | {} | {} | {} |",
            tally.services.len(),
            tally.runs,
            tally.first,
            tally.read
        );
    }
    text
}

/// Confidence against being right, over first findings that alarm.
fn calibration(all: &[Outcome]) -> String {
    let mut text = String::from("| confidence | first findings | right |\n|---|---|---|\n");
    for (from, to) in [(0, 59), (60, 69), (70, 79), (80, 89), (90, 100)] {
        let said: Vec<&Outcome> = all
            .iter()
            .filter(|o| o.confidence.is_some_and(|c| (from..=to).contains(&c)))
            .collect();
        let right = said.iter().filter(|o| o.first_right).count();
        let _ = writeln!(
            text,
            "| {from} to {to} | {} | {} |",
            said.len(),
            percent(right, said.len())
        );
    }
    text
}

/// Everything: totals, calibration, what is wrong and why, and each service on each runtime.
fn long(all: &[Outcome], targets: &[Target]) -> String {
    let mut text = short(all, targets);
    let _ = write!(
        text,
        "\n## How sure, and how often right\n\n{}",
        calibration(all)
    );
    text.push_str("\n## What it gets wrong\n\n");
    let mut wrong = false;
    for outcome in all.iter().filter(|outcome| !outcome.is_right()) {
        wrong = true;
        let why = targets
            .iter()
            .find(|target| target.name == outcome.service)
            .and_then(|target| target.card.expect.known_miss.clone());
        let _ = writeln!(
            text,
            "- {} on {}, {} GC: {} ({}).{}",
            outcome.service,
            outcome.runtime,
            outcome.collector,
            outcome.verdict,
            if outcome.found.is_empty() {
                "nothing found".to_owned()
            } else {
                outcome.found.join(", ")
            },
            why.map(|why| format!(" {why}")).unwrap_or_default()
        );
    }
    if !wrong {
        text.push_str("Nothing of what was run.\n");
    }
    text.push_str("\n## Each service\n\nRank of the right finding (or the verdict, where there is nothing to find); `!` marks what is wrong. Two \
                   ranks: workstation and server GC.\n\n| service | what is wrong with it | 3.1 | 8 | 9 | 10 |\n|---|---|---|---|---|---|\n");
    let mut targets: Vec<&Target> = targets.iter().collect();
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    for target in targets {
        let _ = write!(text, "| {} | {} ", target.name, target.card.about);
        for runtime in RUNTIMES {
            let cells: Vec<String> = all
                .iter()
                .filter(|o| o.service == target.name && o.runtime == runtime)
                .map(cell)
                .collect();
            let cell = if cells.is_empty() {
                "–".to_owned()
            } else {
                cells.join(" / ")
            };
            let _ = write!(text, "| {cell} ");
        }
        text.push_str("|\n");
    }
    text
}

fn cell(outcome: &Outcome) -> String {
    let found = match outcome.rank {
        Some(rank) => rank.to_string(),
        None if outcome.first_right => outcome.verdict.clone(),
        None => format!("none ({})", outcome.verdict),
    };
    if outcome.is_right() {
        found
    } else {
        format!("{found}!")
    }
}
