//! The tables: by category for the project's README, and everything for the README beside this file. They are made of
//! `results.tsv`, one line for each run; `held-out-first.tsv`, what the services held out got when they were run for the first
//! time; and `reasons.toml`, why what is wrong is wrong.

use crate::calibration;
use crate::score::Outcome;
use leakhound_testbed::Target;
use serde::Deserialize;
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
    outcomes(&results())
}

fn firsts() -> PathBuf {
    folder().join("held-out-first.tsv")
}

/// What the services held out got before anything was changed for them.
fn first_of_held_out() -> Vec<Outcome> {
    outcomes(&firsts())
}

/// Keeps what services held out got, of those that were never run before. What is there is never written again.
fn keep_first(outcomes: &[Outcome], targets: &[Target]) {
    let mut first = first_of_held_out();
    let known: BTreeSet<String> = first.iter().map(|o| o.service.clone()).collect();
    let is_new = |o: &&Outcome| {
        let held_out = targets.iter().any(|t| t.held_out && t.name == o.service);
        held_out && !known.contains(&o.service)
    };
    first.extend(outcomes.iter().filter(is_new).cloned());
    std::fs::write(firsts(), lines(&first)).unwrap();
}

fn outcomes(place: &Path) -> Vec<Outcome> {
    let text = std::fs::read_to_string(place).unwrap_or_default();
    text.lines().map(Outcome::parse).collect()
}

fn lines(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|o| o.line() + "\n").collect()
}

/// Why the diagnosis of a service is wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The service.
    pub service: String,
    why: String,
}

/// What is known about wrong answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasons {
    /// About what is wrong now.
    #[serde(default, rename = "reason")]
    pub now: Vec<Reason>,
    /// About what services held out got at first.
    #[serde(default)]
    first: Vec<Reason>,
}

/// What is known about wrong answers.
pub fn reasons() -> Reasons {
    let text = std::fs::read_to_string(folder().join("reasons.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("reasons.toml: {error}"))
}

/// Lays new outcomes over those that are there, and writes them and both tables.
pub fn write(outcomes: &[Outcome]) {
    let key = |o: &Outcome| {
        let runtime = RUNTIMES.iter().position(|runtime| *runtime == o.runtime);
        (o.service.clone(), o.collector == "server", runtime)
    };
    let targets = crate::targets_with_answers();
    keep_first(outcomes, &targets);
    let known: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let mut all: BTreeMap<_, Outcome> = read()
        .into_iter()
        .filter(|outcome| known.contains(outcome.service.as_str()))
        .map(|outcome| (key(&outcome), outcome))
        .collect();
    all.extend(outcomes.iter().map(|o| (key(o), o.clone())));
    let all: Vec<Outcome> = all.into_values().collect();
    std::fs::write(results(), lines(&all)).unwrap();
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
    let reasons = reasons();
    for (given, outcomes) in [(&reasons.now, &all), (&reasons.first, &first_of_held_out())] {
        for reason in given {
            let is_wrong = |o: &Outcome| o.service == reason.service && !o.is_right();
            assert!(
                outcomes.iter().any(is_wrong),
                "reasons.toml says why {} is wrong, and it is not: take the reason out",
                reason.service
            );
        }
    }
    for (page, render) in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        assert_eq!(
            replace(&text, &render(&all, targets), &page),
            text,
            "{} is stale: LEAKHOUND_UPDATE=1 cargo test --test accuracy tables",
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
        .filter(|target| !target.held_out)
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
    text.push_str(&held_out(all, targets));
    text.push('\n');
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

/// Services that no rule was made with: the share that was right at first, and that is now.
fn held_out(all: &[Outcome], targets: &[Target]) -> String {
    let names: BTreeSet<&str> = targets
        .iter()
        .filter(|target| target.held_out)
        .map(|target| target.name.as_str())
        .collect();
    // Some were run on two settings at first, others on eight: a service counts once, as right when each of its runs was.
    let right = |outcomes: &[Outcome]| {
        let mut services: BTreeMap<&str, bool> = BTreeMap::new();
        let mut runs = (0, 0);
        for outcome in outcomes {
            if let Some(name) = names.get(outcome.service.as_str()) {
                *services.entry(*name).or_insert(true) &= outcome.is_right();
                runs = (runs.0 + usize::from(outcome.is_right()), runs.1 + 1);
            }
        }
        let all_right = services.values().filter(|right| **right).count();
        format!(
            "{all_right} ({}; {} of {} runs)",
            percent(all_right, services.len()),
            runs.0,
            runs.1
        )
    };
    format!(
        "{} services were held out, written in other styles, twenty-seven of them by people who knew the rules: {} were right wherever they ran the first time \
         they were run, and {} are after what they showed was mended.\n",
        names.len(),
        right(&first_of_held_out()),
        right(all)
    )
}

/// Everything: totals, calibration, what is wrong and why, and each service on each runtime.
fn long(all: &[Outcome], targets: &[Target]) -> String {
    let mut text = short(all, targets);
    text.push_str("\n## How sure, and how often right\n\n");
    text.push_str(&calibration::table(all, &first_of_held_out()));
    text.push_str("\n## What it gets wrong\n\n");
    let reasons = reasons();
    text.push_str(&wrong(all, &reasons.now));
    text.push_str("\nOf the services held out, when they were run for the first time:\n\n");
    text.push_str(&wrong(&first_of_held_out(), &reasons.first));
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

/// A line for each service that is wrong somewhere: where, what was said there, and why, where that is known.
fn wrong(outcomes: &[Outcome], reasons: &[Reason]) -> String {
    let mut services: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_right()) {
        services.entry(&outcome.service).or_default().push(outcome);
    }
    let mut text = String::new();
    for (service, runs) in services {
        let why = reasons.iter().find(|reason| reason.service == service);
        let _ = writeln!(
            text,
            "- {service} on {}: {}. {}",
            settings(&runs),
            answers(&runs),
            why.map_or("Why is not known yet.", |reason| reason.why.trim()),
        );
    }
    if text.is_empty() {
        text.push_str("Nothing of what was run.\n");
    }
    text
}

/// `3.1, 10 with workstation GC; 10 with server GC`.
fn settings(runs: &[&Outcome]) -> String {
    let under = |collector: &str| {
        let of = runs.iter().filter(|run| run.collector == collector);
        let runtimes: Vec<&str> = of.map(|run| run.runtime.as_str()).collect();
        (!runtimes.is_empty()).then(|| format!("{} with {collector} GC", runtimes.join(", ")))
    };
    let settings: Vec<String> = ["workstation", "server"]
        .into_iter()
        .filter_map(under)
        .collect();
    settings.join("; ")
}

/// What was said, each answer once.
fn answers(runs: &[&Outcome]) -> String {
    let mut answers: Vec<String> = Vec::new();
    for run in runs {
        let found = match run.found.as_slice() {
            [] => "nothing found".to_owned(),
            found => found.join(", "),
        };
        let answer = format!("{} ({found})", run.verdict);
        if !answers.contains(&answer) {
            answers.push(answer);
        }
    }
    answers.join(", or ")
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
