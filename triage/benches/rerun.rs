//! How many archived sheets one core judges again in a second, read from disk and all. Budget: 2,000.
//!
//! `cargo bench -p leakhound-triage --bench rerun`. The sheet is that of the fixture dump; each process has eight captures, and the
//! heap, a few of its static fields and types, and its threads grow from each to the next.
#![allow(clippy::unwrap_used)]

use leakhound_archive::bundle::{DIAGNOSIS_FILE, SHEET_FILE};
use leakhound_archive::{Archive, Filter, Manifest};
use leakhound_rules::{FactSheet, RuleSet, Value};
use leakhound_triage::analyze::analyze;
use leakhound_triage::child::{Modules, Request, Strings};
use leakhound_triage::rerun::{Options, rerun};
use std::time::Instant;

const PROCESSES: u32 = 100;
const CAPTURES: i64 = 8;
const START_MS: i64 = 1_790_000_000_000;

/// What grows in a list: every so many rows, by a tenth of what the first capture had.
const GROWING: &[(&str, &str, usize)] = &[
    ("statics", "owned", 5),
    ("types", "live_bytes", 10),
    ("accumulations", "bytes", 10),
    ("shapes", "elements", 10),
];

fn grown(first: &FactSheet, capture: i64) -> FactSheet {
    let mut sheet = first.clone();
    let more = |value: &mut Value| {
        if let Value::Int(n) = value {
            *n += *n / 10 * capture;
        }
    };
    for fact in ["heap.live", "heap.used", "memory.commit", "threads"] {
        sheet.facts.get_mut(fact).into_iter().for_each(more);
    }
    for (list, column, every) in GROWING {
        let rows = sheet.lists.get_mut(*list).into_iter().flatten();
        for row in rows.step_by(*every) {
            row.get_mut(column).into_iter().for_each(more);
        }
    }
    sheet
}

fn main() {
    // What `cargo test --benches` says: it shall compile, not run.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let request = Request {
        dump: concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/shop-pricing.core.zst"
        )
        .into(),
        manifest: None,
        service: Some("Shop.Pricing".to_owned()),
        modules: Modules::None,
        strings: Strings::Hashed,
        memory_limit_bytes: 1 << 32,
        time_limit_ms: 60_000,
    };
    let first = analyze(&request, &mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(folder.path()).unwrap();
    let rules = RuleSet::shipped();
    let diagnosis = serde_json::to_vec(&leakhound_rules::judge(&first, &rules)).unwrap();
    for process in 0..PROCESSES {
        for capture in 0..CAPTURES {
            let at_ms = START_MS + capture * 3_600_000;
            let mut sheet = grown(&first, capture);
            sheet.subject.pid = process + 1;
            sheet.subject.captured_at_ms = Some(at_ms);
            let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
            let writer = archive
                .begin("Shop.Pricing", at, "node-1", process + 1)
                .unwrap();
            writer
                .put(SHEET_FILE, &serde_json::to_vec(&sheet).unwrap())
                .unwrap();
            writer.put(DIAGNOSIS_FILE, &diagnosis).unwrap();
            writer.seal(Manifest::default()).unwrap();
        }
    }
    let bundles = archive.list(&Filter::default()).unwrap().bundles;
    let one_core = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let bytes = serde_json::to_vec(&first).unwrap().len();
    for _ in 0..3 {
        let started = Instant::now();
        let outcomes = one_core.install(|| {
            rerun(
                &archive,
                &bundles,
                &rules.clone().into(),
                &Options::default(),
                &mut |_, _| {},
            )
        });
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{} sheets of {} KB in {seconds:.2} s: {:.0} a second and core",
            outcomes.len(),
            bytes / 1000,
            outcomes.len() as f64 / seconds
        );
    }
}
