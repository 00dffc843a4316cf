//! Whole sheets to whole diagnoses: the right cause first, and JSON as the contract has it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use leakhound_rules::units::Quantity;
use leakhound_rules::vocabulary::{Kind, fact_named, list_named};
use leakhound_rules::{
    Category, Diagnosis, FactSheet, Known, Role, Row, RuleSet, Severity, Value, Verdict, assess,
    judge, judge_knowing,
};

/// Facts as a person writes them: `loh.free = 600 MB`.
fn with(sheet: &mut FactSheet, facts: &[(&str, &str)]) {
    for (name, text) in facts {
        let fact = fact_named(name).unwrap_or_else(|| panic!("{name}"));
        sheet
            .facts
            .insert((*name).to_owned(), value(text, fact.kind));
    }
}

fn value(text: &str, kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(text == "true"),
        Kind::Text => Value::Text(text.to_owned()),
        Kind::Texts => Value::Texts(text.split(" > ").map(str::to_owned).collect()),
        Kind::Ratio => Value::Float(Quantity::parse(text).unwrap().value),
        _ => Value::Int(Quantity::parse(text).unwrap().value as i64),
    }
}

fn row(list: &str, cells: &[(&str, &str)]) -> Row {
    let list = list_named(list).unwrap();
    cells
        .iter()
        .map(|(name, text)| {
            let kind = list.columns.iter().find(|(n, _, _)| n == name).unwrap().1;
            ((*name).to_owned(), value(text, kind))
        })
        .collect()
}

fn rows(sheet: &mut FactSheet, list: &str, all: &[&[(&str, &str)]]) {
    let rows = all.iter().map(|cells| row(list, cells)).collect();
    sheet.lists.insert(list.to_owned(), rows);
}

/// A service that is well: 400 MB committed, 120 MB of live objects.
fn healthy() -> FactSheet {
    let mut sheet = FactSheet::default();
    sheet.runtime.name = ".NET".to_owned();
    sheet.runtime.version = "8.0.32".to_owned();
    sheet.completeness.heap = Some(1.0);
    sheet.completeness.names = Some(1.0);
    sheet.completeness.references = Some(1.0);
    sheet.completeness.during_gc = Some(false);
    with(
        &mut sheet,
        &[
            ("threads", "34"),
            ("limit", "2 GB"),
            ("limit_used", "420 MB"),
            ("limit_share", "21%"),
            ("limit_file", "20 MB"),
            ("memory.commit", "400 MB"),
            ("memory.images", "20 MB"),
            ("memory.stacks", "51 MB"),
            ("memory.gc", "250 MB"),
            ("memory.gc_live", "120 MB"),
            ("memory.gc_garbage", "60 MB"),
            ("memory.gc_free", "10 MB"),
            ("memory.gc_empty", "60 MB"),
            ("memory.runtime", "40 MB"),
            ("memory.native", "25 MB"),
            ("memory.mapped_files", "4 MB"),
            ("memory.unattributed", "10 MB"),
            ("heap.committed", "250 MB"),
            ("heap.used", "180 MB"),
            ("heap.free", "10 MB"),
            ("heap.empty", "60 MB"),
            ("heap.live", "120 MB"),
            ("heap.garbage", "60 MB"),
            ("loh.committed", "20 MB"),
            ("loh.free", "2 MB"),
            ("loh.largest_free", "1 MB"),
            ("poh.committed", "1 MB"),
            ("poh.used", "100 KB"),
            ("soh.committed", "220 MB"),
            ("soh.free", "8 MB"),
            ("soh.pinned_free", "200 KB"),
            ("gc.in_progress", "false"),
            ("finalizer.registered", "2_400"),
            ("finalizer.ready", "12"),
            ("finalizer.ready_bytes", "1 KB"),
            ("finalizer.ready_retained", "20 KB"),
            ("finalizer.thread_busy", "false"),
            ("handles.total", "900"),
            ("handles.strong", "120"),
            ("handles.pinned", "25"),
            ("handles.pinned_bytes", "200 KB"),
            ("handles.async_pinned", "0"),
            ("handles.weak", "300"),
            ("handles.weak_dead", "40"),
            ("handles.dependent", "90"),
            ("strings.count", "300_000"),
            ("strings.bytes", "22 MB"),
            ("strings.duplicate_bytes", "9 MB"),
            ("threads.managed", "28"),
            ("threads.stack_bytes", "4 MB"),
        ],
    );
    rows(
        &mut sheet,
        "types",
        &[&[
            ("type", "System.String"),
            ("count", "300_000"),
            ("bytes", "22 MB"),
            ("live_bytes", "18 MB"),
        ]],
    );
    rows(
        &mut sheet,
        "statics",
        &[&[
            ("field", "Shop.Program.host"),
            ("type", "Host"),
            ("thread_static", "false"),
            ("retained", "11 MB"),
        ]],
    );
    rows(
        &mut sheet,
        "pinned",
        &[&[
            ("type", "System.Object[]"),
            ("generation", "poh"),
            ("count", "8"),
            ("bytes", "200 KB"),
            ("free_nearby", "0 B"),
        ]],
    );
    rows(&mut sheet, "handle_targets", &[]);
    rows(&mut sheet, "ready", &[]);
    rows(&mut sheet, "duplicate_strings", &[]);
    rows(
        &mut sheet,
        "thread_names",
        &[&[("name", ".NET TP Worker"), ("count", "14")]],
    );
    rows(
        &mut sheet,
        "native_regions",
        &[&[
            ("kind", "malloc arenas"),
            ("count", "4"),
            ("bytes", "20 MB"),
        ]],
    );
    sheet
}

fn leaking_static() -> FactSheet {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "1.38 GB"),
            ("memory.gc", "1.2 GB"),
            ("heap.committed", "1.2 GB"),
            ("heap.used", "1.05 GB"),
            ("heap.live", "990 MB"),
            ("heap.garbage", "60 MB"),
            ("soh.committed", "1.1 GB"),
        ],
    );
    rows(
        &mut sheet,
        "statics",
        &[
            &[
                ("field", "Shop.Pricing.QuoteCache.Quotes"),
                ("type", "Dictionary<String, Quote>"),
                ("thread_static", "false"),
                ("retained", "870 MB"),
                ("elements", "412_310"),
                (
                    "path",
                    "static Shop.Pricing.QuoteCache.Quotes > Dictionary<String, Quote> > Quote[]",
                ),
            ],
            &[
                ("field", "Shop.Program.host"),
                ("type", "Host"),
                ("thread_static", "false"),
                ("retained", "11 MB"),
            ],
        ],
    );
    sheet
}

fn first(sheet: &FactSheet) -> (Diagnosis, String) {
    let diagnosis = judge(sheet, &RuleSet::shipped());
    let ranked: Vec<String> = diagnosis.findings.iter().map(|f| f.rule.clone()).collect();
    (diagnosis, ranked.join(" "))
}

#[test]
fn a_healthy_service_is_called_healthy() {
    let (diagnosis, ranked) = first(&healthy());
    assert_eq!(ranked, "");
    assert_eq!(diagnosis.verdict, Verdict::Healthy);
    assert_eq!(diagnosis.exit_code(), 0);
    assert_eq!(
        diagnosis.headline,
        "No leak found: 400 MB committed, 120 MB in managed objects; nothing stands out"
    );
    let waiting: BTreeSet<&str> = diagnosis
        .not_judged
        .iter()
        .map(|n| n.rule.as_str())
        .collect();
    assert_eq!(
        waiting,
        BTreeSet::from(["retained-growth", "static-root-growth"]),
        "only growth needs a second capture"
    );
}

#[test]
fn a_large_static_is_the_headline() {
    let (diagnosis, ranked) = first(&leaking_static());
    assert_eq!(ranked, "static-root");
    assert_eq!(diagnosis.verdict, Verdict::Leak);
    assert_eq!(diagnosis.exit_code(), 1);
    assert_eq!(
        diagnosis.headline,
        "Shop.Pricing.QuoteCache.Quotes (static Dictionary<String, Quote>, 412,310 entries) retains 870 MB, 63% of commit"
    );
    let finding = diagnosis.first().unwrap();
    assert_eq!(finding.culprit, "Shop.Pricing.QuoteCache.Quotes");
    assert_eq!(
        (finding.explained_bytes, finding.share_of_commit),
        (870_000_000, Some(0.6304))
    );
    assert_eq!(finding.path[0], "static Shop.Pricing.QuoteCache.Quotes");
    assert_eq!(
        finding.why_here,
        "It is a cause and accounts for 870 MB (63% of commit); critical at 85% confidence."
    );
}

#[test]
fn growth_of_a_static_absorbs_the_static_and_keeps_its_incident() {
    let before = judge(&leaking_static(), &RuleSet::shipped());
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("growth.captures", "2"),
            ("growth.managed", "500 MB"),
            ("growth.native", "0 B"),
            ("growth.threads", "0"),
        ],
    );
    rows(
        &mut sheet,
        "growing_statics",
        &[&[
            ("field", "Shop.Pricing.QuoteCache.Quotes"),
            ("type", "Dictionary<String, Quote>"),
            ("retained", "870 MB"),
            ("previous", "370 MB"),
            ("delta", "500 MB"),
            ("rate", "250 MB/h"),
            ("steps", "1"),
            (
                "path",
                "static Shop.Pricing.QuoteCache.Quotes > Dictionary<String, Quote> > Quote[]",
            ),
        ]],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "static-root-growth");
    let finding = diagnosis.first().unwrap();
    assert_eq!(finding.fingerprint, before.first().unwrap().fingerprint);
    let absorbed: Vec<&str> = finding.absorbed.iter().map(|a| a.rule.as_str()).collect();
    assert_eq!(absorbed, ["static-root", "retained-growth"]);
    assert!(
        diagnosis
            .headline
            .ends_with("500 MB more than in the first capture compared, 250 MB/h"),
        "{}",
        diagnosis.headline
    );
    assert!(
        finding
            .why_here
            .contains("it grows; it explains 2 symptoms"),
        "{}",
        finding.why_here
    );
}

#[test]
fn growth_of_one_static_leaves_another_large_one_standing() {
    let mut sheet = leaking_static();
    rows(
        &mut sheet,
        "growing_statics",
        &[&[
            ("field", "Shop.Other.list"),
            ("retained", "100 MB"),
            ("delta", "60 MB"),
            ("steps", "1"),
        ]],
    );
    assert_eq!(first(&sheet).1, "static-root static-root-growth");
}

#[test]
fn a_static_list_of_equal_strings_is_blamed_before_the_strings() {
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("strings.bytes", "840 MB"),
            ("strings.duplicate_bytes", "820 MB"),
            ("strings.count", "9_000_000"),
        ],
    );
    rows(
        &mut sheet,
        "duplicate_strings",
        &[&[
            ("value", "EUR"),
            ("length", "3"),
            ("count", "9_000_000"),
            ("wasted", "820 MB"),
        ]],
    );
    assert_eq!(first(&sheet).1, "static-root string-duplication");
}

#[test]
fn a_finalizer_backlog_is_blamed_for_the_garbage() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "700 MB"),
            ("heap.used", "520 MB"),
            ("heap.live", "180 MB"),
            ("heap.garbage", "340 MB"),
            ("finalizer.registered", "61_000"),
            ("finalizer.ready", "58_000"),
            ("finalizer.ready_bytes", "1.4 MB"),
            ("finalizer.ready_retained", "3 MB"),
            ("finalizer.thread_busy", "true"),
        ],
    );
    rows(
        &mut sheet,
        "ready",
        &[&[
            ("type", "Shop.Files.TempFile"),
            ("count", "57_900"),
            ("bytes", "1.4 MB"),
        ]],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "finalizer-backlog");
    assert_eq!(diagnosis.first().unwrap().culprit, "Shop.Files.TempFile");
    assert_eq!(
        diagnosis.headline,
        "58,000 dead objects wait for the finalizer thread, led by 57,900 Shop.Files.TempFile, and keep 3 MB in memory"
    );
}

#[test]
fn loh_holes_are_blamed_before_small_pinned_arrays() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "900 MB"),
            ("heap.committed", "800 MB"),
            ("loh.committed", "500 MB"),
            ("loh.free", "240 MB"),
            ("loh.largest_free", "900 KB"),
            ("handles.pinned", "2_500"),
            ("handles.pinned_bytes", "5 MB"),
            ("soh.pinned_free", "2 MB"),
        ],
    );
    rows(
        &mut sheet,
        "pinned",
        &[&[
            ("type", "System.Byte[]"),
            ("generation", "gen2"),
            ("count", "2_480"),
            ("bytes", "5 MB"),
            ("free_nearby", "2 MB"),
        ]],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "loh-fragmentation pinned-handles");
    assert_eq!(
        diagnosis.headline,
        "240 MB of the 500 MB large object heap is holes, the largest 900 KB: it is swept, not compacted, so memory stays committed between the arrays that live on"
    );
}

#[test]
fn pins_are_blamed_for_the_holes_around_them() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "900 MB"),
            ("heap.committed", "700 MB"),
            ("soh.committed", "650 MB"),
            ("soh.free", "400 MB"),
            ("soh.pinned_free", "310 MB"),
            ("handles.pinned", "20_000"),
            ("handles.pinned_bytes", "20 MB"),
        ],
    );
    rows(
        &mut sheet,
        "pinned",
        &[
            &[
                ("type", "System.Object[]"),
                ("generation", "loh"),
                ("count", "9"),
                ("bytes", "40 MB"),
                ("free_nearby", "0 B"),
            ],
            &[
                ("type", "System.Byte[]"),
                ("generation", "gen2"),
                ("count", "19_900"),
                ("bytes", "20 MB"),
                ("free_nearby", "310 MB"),
            ],
        ],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "pinned-handles");
    let finding = diagnosis.first().unwrap();
    assert_eq!(finding.culprit, "System.Byte[]");
    assert_eq!(finding.absorbed[0].rule, "heap-fragmentation");
    assert_eq!(
        diagnosis.headline,
        "20,000 pinned handles, 19,900 of them on System.Byte[], hold 20 MB in place and leave 310 MB of holes beside them"
    );
}

#[test]
fn garbage_that_waits_is_not_a_leak() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "1.6 GB"),
            ("heap.used", "1.3 GB"),
            ("heap.live", "90 MB"),
            ("heap.garbage", "1.21 GB"),
        ],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "garbage-waiting");
    assert_eq!(
        (diagnosis.verdict, diagnosis.exit_code()),
        (Verdict::NotALeak, 0)
    );
    assert!(
        diagnosis
            .headline
            .starts_with("Not a leak: 1.21 GB of the 1.3 GB"),
        "{}",
        diagnosis.headline
    );
}

#[test]
fn not_a_leak_wins_over_a_cause_that_explains_little() {
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("memory.commit", "4 GB"),
            ("heap.used", "3.6 GB"),
            ("heap.live", "300 MB"),
            ("heap.garbage", "3.3 GB"),
        ],
    );
    sheet.lists.get_mut("statics").unwrap()[0]
        .insert("retained".to_owned(), Value::Int(70_000_000));
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "garbage-waiting static-root");
    assert_eq!(diagnosis.verdict, Verdict::NotALeak);
}

#[test]
fn threads_native_memory_and_strings_have_their_causes() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("threads", "900"),
            ("threads.managed", "880"),
            ("memory.commit", "1.9 GB"),
            ("memory.stacks", "1.4 GB"),
        ],
    );
    rows(
        &mut sheet,
        "thread_names",
        &[&[("name", "poller-"), ("count", "850")]],
    );
    assert_eq!(first(&sheet).1, "thread-leak");

    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "520 MB"),
            ("memory.native", "330 MB"),
            ("memory.gc", "40 MB"),
            ("heap.live", "12 MB"),
            ("heap.used", "20 MB"),
            ("heap.garbage", "8 MB"),
        ],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "native-growth");
    let finding = diagnosis.first().unwrap();
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, 60)
    );

    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("heap.live", "300 MB"),
            ("heap.used", "340 MB"),
            ("strings.bytes", "250 MB"),
            ("strings.duplicate_bytes", "210 MB"),
        ],
    );
    assert_eq!(first(&sheet).1, "string-duplication");
}

#[test]
fn an_imminent_out_of_memory_stands_first_and_names_the_cause() {
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("limit", "1.4 GB"),
            ("limit_used", "1.37 GB"),
            ("limit_share", "98%"),
            ("limit_file", "0 B"),
        ],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "near-limit static-root");
    assert_eq!(diagnosis.verdict, Verdict::Leak);
    assert!(
        diagnosis
            .headline
            .starts_with("98% of the 1.4 GB memory limit is used; Shop.Pricing.QuoteCache.Quotes"),
        "{}",
        diagnosis.headline
    );

    with(&mut sheet, &[("limit", "1.55 GB"), ("limit_share", "88%")]);
    assert_eq!(
        first(&sheet).1,
        "static-root near-limit",
        "a limit that is only close is a symptom"
    );

    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("limit", "440 MB"),
            ("limit_used", "420 MB"),
            ("limit_share", "96%"),
            ("limit_file", "0 B"),
        ],
    );
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(
        (ranked.as_str(), diagnosis.verdict, diagnosis.exit_code()),
        ("near-limit", Verdict::Pressure, 1)
    );
}

#[test]
fn a_damaged_capture_outranks_everything() {
    let mut sheet = leaking_static();
    sheet.completeness.heap = Some(0.62);
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "dump-unreliable static-root");
    assert_eq!(
        (diagnosis.verdict, diagnosis.exit_code()),
        (Verdict::Unreliable, 1)
    );
    assert_eq!(diagnosis.findings[1].confidence, 53, "85% of 62%");
}

#[test]
fn a_sheet_without_facts_is_unreliable_not_healthy() {
    let (diagnosis, ranked) = first(&FactSheet::default());
    assert_eq!(
        (ranked.as_str(), diagnosis.verdict),
        ("", Verdict::Unreliable)
    );
    assert!(diagnosis.not_judged.len() > 15);
    let mut sheet = FactSheet::default();
    sheet.unknown("loh.free", "the heap is damaged at segment 4");
    let diagnosis = judge(&sheet, &RuleSet::shipped());
    let loh = diagnosis
        .not_judged
        .iter()
        .find(|n| n.rule == "loh-fragmentation")
        .unwrap();
    assert_eq!(loh.missing[0], "loh.free: the heap is damaged at segment 4");
}

#[test]
fn what_is_new_ranks_before_what_was_seen() {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("heap.live", "600 MB"),
            ("heap.used", "650 MB"),
            ("memory.commit", "900 MB"),
        ],
    );
    let cell = |field: &'static str, retained: &'static str| {
        [
            ("field", field),
            ("type", "List<Order>"),
            ("thread_static", "false"),
            ("retained", retained),
        ]
    };
    rows(
        &mut sheet,
        "statics",
        &[&cell("A.B.old", "230 MB"), &cell("A.B.fresh", "220 MB")],
    );
    let rules = RuleSet::shipped();
    let plain = judge(&sheet, &rules);
    assert_eq!(plain.first().unwrap().culprit, "A.B.old");
    let seen = BTreeSet::from([plain.first().unwrap().fingerprint.clone()]);
    let knowing = judge_knowing(
        &sheet,
        &rules,
        Known {
            fingerprints: Some(&seen),
        },
    );
    assert_eq!(knowing.first().unwrap().culprit, "A.B.fresh");
    assert!(knowing.first().unwrap().why_here.contains("it is new"));
}

#[test]
fn the_order_does_not_depend_on_the_order_of_rules() {
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("loh.committed", "500 MB"),
            ("loh.free", "240 MB"),
            ("handles.weak", "200_000"),
            ("handles.dependent", "200_000"),
        ],
    );
    let forward = judge(&sheet, &RuleSet::shipped());
    let files: Vec<(&str, &str)> = leakhound_rules::pack::SHIPPED
        .iter()
        .rev()
        .copied()
        .collect();
    let backward = judge(&sheet, &RuleSet::parse(files).unwrap());
    assert_eq!(forward.findings, backward.findings);
    let ranks: Vec<u32> = forward.findings.iter().map(|f| f.rank).collect();
    assert_eq!(ranks, [1, 2, 3, 4]);
}

#[test]
fn a_fingerprint_survives_another_node_count_and_version() {
    let a = judge(&leaking_static(), &RuleSet::shipped());
    let mut sheet = leaking_static();
    sheet.subject.node = "node-7".to_owned();
    sheet.subject.pid = 99;
    sheet.runtime.version = "8.0.33".to_owned();
    let static_row = &mut sheet.lists.get_mut("statics").unwrap()[0];
    static_row.insert("elements".to_owned(), Value::Int(999_999));
    static_row.insert("retained".to_owned(), Value::Int(800_000_000));
    let b = judge(&sheet, &RuleSet::shipped());
    assert_eq!(
        a.first().unwrap().fingerprint,
        b.first().unwrap().fingerprint
    );
}

#[test]
fn the_json_is_the_contract() {
    let mut sheet = leaking_static();
    sheet.completeness.heap = Some(0.999_949_9);
    with(&mut sheet, &[("cpu", "33.33333%")]);
    let diagnosis = judge(&sheet, &RuleSet::shipped());
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["verdict"], "leak");
    for key in [
        "headline",
        "runtime",
        "completeness",
        "findings",
        "memory",
        "facts",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    let finding = &json["findings"][0];
    for (key, expected) in [
        ("rank", serde_json::json!(1)),
        ("rule", serde_json::json!("static-root")),
        ("category", serde_json::json!("static-root")),
        ("severity", serde_json::json!("critical")),
        ("confidence", serde_json::json!(85)),
        (
            "culprit",
            serde_json::json!("Shop.Pricing.QuoteCache.Quotes"),
        ),
        ("explained_bytes", serde_json::json!(870_000_000)),
        ("share_of_commit", serde_json::json!(0.6304)),
        ("role", serde_json::json!("cause")),
    ] {
        assert_eq!(finding[key], expected, "{key}");
    }
    for key in ["title", "fingerprint", "why_here", "message"] {
        assert!(
            finding[key].as_str().is_some_and(|s| !s.is_empty()),
            "{key}"
        );
    }
    for key in ["path", "advice", "verify", "evidence"] {
        assert!(
            finding[key].as_array().is_some_and(|a| !a.is_empty()),
            "{key}"
        );
    }
    let retained = finding["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["fact"] == "statics.retained")
        .unwrap();
    assert_eq!(retained["value"], 870_000_000);
    assert_eq!(
        (retained["unit"].as_str(), retained["text"].as_str()),
        (Some("bytes"), Some("870 MB"))
    );
    assert_eq!(json["memory"]["commit"], 1_380_000_000);
    assert_eq!(json["facts"]["heap.live"], 990_000_000);
    assert_eq!(json["facts"]["cpu"], 0.3333);
    assert_eq!(json["facts"]["statics"][0]["elements"], 412_310);
    assert_eq!(json["completeness"]["heap"], 0.9999);
    let text = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(
        text,
        serde_json::to_string(&judge(&sheet, &RuleSet::shipped())).unwrap(),
        "byte for byte the same"
    );
    let back: Diagnosis = serde_json::from_str(&text).unwrap();
    assert_eq!(back, diagnosis);
}

#[test]
fn assessing_says_the_same_without_the_facts() {
    let mut judged = judge(&leaking_static(), &RuleSet::shipped());
    judged.facts.clear();
    assert_eq!(
        assess(&leaking_static(), &RuleSet::shipped(), Known::default()),
        judged
    );
}

#[test]
fn every_category_of_a_rule_is_in_the_closed_list_and_every_role_is_used() {
    let set = RuleSet::shipped();
    let roles: BTreeSet<Role> = set.rules().map(|r| r.role).collect();
    assert_eq!(roles.len(), Role::ALL.len());
    assert_eq!(Category::ALL.len(), 36);
    for category in Category::ALL {
        assert_eq!(serde_json::to_value(category).unwrap(), category.name());
        assert_eq!(Category::named(category.name()), Some(*category));
    }
}

#[test]
fn a_sheet_with_too_many_rows_is_judged_in_bounded_time() {
    let rule = r#"id = "self-join"
category = "retained-growth"
role = "symptom"
title = "Compares a list with itself"
for_each = "types"
when = "(count in types where item.bytes > outer.bytes) > 1_000_000"
culprit = "{type}"
message = "{type}"
advice = ["None."]
"#;
    let set = RuleSet::parse([("self-join.toml", rule)]).unwrap();
    let mut sheet = healthy();
    let cells = row("types", &[("type", "T"), ("bytes", "5 B")]);
    sheet.lists.insert("types".to_owned(), vec![cells; 100_000]);
    let started = std::time::Instant::now();
    let diagnosis = judge(&sheet, &set);
    assert!(diagnosis.findings.is_empty());
    assert!(
        started.elapsed().as_secs() < 60,
        "100,000 rows squared would take an hour"
    );
}
