//! When several rules fire on one capture, the cause is first.
#![allow(clippy::unwrap_used)]

mod sheets;

use std::collections::BTreeSet;

use leakhound_rules::{FactSheet, Known, RuleSet, Severity, Value, Verdict, judge, judge_knowing};
use sheets::{first, healthy, leaking_static, rows, with};

#[test]
fn growth_of_a_static_absorbs_the_static_and_keeps_its_incident() {
    let before = judge(&leaking_static(), &RuleSet::shipped());
    let mut sheet = leaking_static();
    with(
        &mut sheet,
        &[
            ("growth.captures", "2"),
            ("growth.span", "2 h"),
            ("growth.last_span", "2 h"),
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
            ("owned", "870 MB"),
            ("retained", "870 MB"),
            ("previous", "370 MB"),
            ("delta", "500 MB"),
            ("step", "500 MB"),
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
    assert_eq!(absorbed, ["retained-growth", "static-root"]);
    assert!(
        diagnosis
            .headline
            .ends_with("500 MB more than in the last capture 2 h earlier, 250 MB/h (two captures do not tell how sure that is)"),
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
            ("owned", "100 MB"),
            ("delta", "60 MB"),
            ("steps", "1"),
        ]],
    );
    assert_eq!(first(&sheet).1, "static-root static-root-growth");
}

#[test]
fn a_static_that_shares_what_it_owns_says_so() {
    let mut sheet = leaking_static();
    sheet.lists.get_mut("statics").unwrap()[0]
        .insert("retained".to_owned(), Value::Int(41_000_000));
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "static-root");
    let finding = diagnosis.first().unwrap();
    assert_eq!(finding.explained_bytes, 870_000_000);
    assert_eq!(
        finding.message,
        "Shop.Pricing.QuoteCache.Quotes (static Dictionary<String, Quote>, 412,310 entries) holds 870 MB, 63% of commit; \
         only 41 MB of that would go with it, others hold the rest too"
    );
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
            ("gen2.committed", "600 MB"),
            ("gen2.free", "390 MB"),
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

/// A heap that is nearly all garbage.
fn waiting_garbage() -> FactSheet {
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
    sheet
}

#[test]
fn garbage_that_waits_is_not_a_leak() {
    let sheet = waiting_garbage();
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
    sheet.lists.get_mut("statics").unwrap()[0].insert("owned".to_owned(), Value::Int(70_000_000));
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "garbage-waiting static-root");
    assert_eq!(diagnosis.verdict, Verdict::NotALeak);
}

#[test]
fn nothing_outweighs_a_cause_whose_bytes_are_not_known() {
    let mut sheet = waiting_garbage();
    with(&mut sheet, &[("modules.dynamic", "900")]);
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "dynamic-assemblies garbage-waiting");
    assert_eq!(diagnosis.findings[0].explained_bytes, 0);
    assert_eq!(diagnosis.verdict, Verdict::Leak);
}

#[test]
fn what_is_worth_knowing_stands_behind_what_needs_an_answer() {
    let mut sheet = healthy();
    let place: [(&str, &str); 5] = [
        ("type", "Acme.Pipes.Reader"),
        ("holder", "Reader[]"),
        ("root", "stack of a thread"),
        ("count", "6_000"),
        ("bytes", "180 MB"),
    ];
    rows(&mut sheet, "accumulations", &[&place]);
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "accumulation");
    assert_eq!(diagnosis.verdict, Verdict::Healthy);
    // It explains no bytes, and somebody should act on it.
    with(&mut sheet, &[("handles.async_pinned", "6_000")]);
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "async-pinned-handles accumulation");
    assert_eq!(diagnosis.verdict, Verdict::Leak);
    let why = &diagnosis.findings[1].why_here;
    assert!(
        why.ends_with("; behind what somebody should act on."),
        "{why}"
    );
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
    rows(&mut sheet, "statics", &[]);
    let (diagnosis, ranked) = first(&sheet);
    assert_eq!(ranked, "native-growth");
    let finding = diagnosis.first().unwrap();
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, 87)
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
    let cell = |field: &'static str, owned: &'static str| {
        [
            ("field", field),
            ("type", "List<Order>"),
            ("thread_static", "false"),
            ("owned", owned),
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
