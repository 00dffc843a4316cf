//! Whole sheets to whole diagnoses: verdict, headline, and JSON as the contract has it.
#![allow(clippy::unwrap_used)]

mod sheets;

use std::collections::BTreeSet;

use leakhound_rules::{
    Category, Diagnosis, FactSheet, Known, Role, RuleSet, Value, Verdict, assess, judge,
};
use sheets::{first, healthy, leaking_static, row, with};

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
        BTreeSet::from(["place-growth", "retained-growth", "static-root-growth"]),
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
        "It is a cause and accounts for 870 MB (63% of commit); warning at 87% confidence."
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
    assert_eq!(diagnosis.findings[1].confidence, 54, "87% of 62%");
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
fn a_fingerprint_survives_another_node_count_and_version() {
    let a = judge(&leaking_static(), &RuleSet::shipped());
    let mut sheet = leaking_static();
    sheet.subject.node = "node-7".to_owned();
    sheet.subject.pid = 99;
    sheet.runtime.version = "8.0.33".to_owned();
    let static_row = &mut sheet.lists.get_mut("statics").unwrap()[0];
    static_row.insert("elements".to_owned(), Value::Int(999_999));
    static_row.insert("owned".to_owned(), Value::Int(800_000_000));
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
        ("severity", serde_json::json!("warning")),
        ("confidence", serde_json::json!(87)),
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
    let owned = finding["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["fact"] == "statics.owned")
        .unwrap();
    assert_eq!(owned["value"], 870_000_000);
    assert_eq!(
        (owned["unit"].as_str(), owned["text"].as_str()),
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
