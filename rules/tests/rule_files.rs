//! Rule files as people write them: what is refused and how it is said, overlays, parameters, inline cases.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use leakhound_rules::{Rule, RuleSet, catalog};
use proptest::prelude::*;

const GOOD: &str = r#"id = "big-sessions"
category = "retained-growth"
role = "cause"
title = "Sessions are kept"
for_each = "types"
when = "type contains \"Session\" and live_bytes > params.floor"
explains = "live_bytes"
culprit = "{type}"
message = "{count} {type} objects take {live_bytes}"
advice = ["End {type} objects when their user leaves."]
verify = { sos = "!dumpheap -type Session -stat" }

[params]
floor = "50 MB"

[[test]]
name = "many"
expects = "fires"
culprit = "Shop.Session"
lists.types = [{ type = "Shop.Session", count = 9_000, bytes = "90 MB", live_bytes = "80 MB" }]

[[test]]
name = "few"
expects = "quiet"
lists.types = [{ type = "Shop.Session", count = 9, bytes = "90 KB", live_bytes = "80 KB" }]
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Rule::parse("rules/sessions.toml", &GOOD.replacen(from, to, 1))
        .map(|r| r.id)
        .unwrap_err()
        .to_string()
}

#[test]
fn the_example_is_good() {
    let report = catalog::check(&RuleSet::shipped(), [("rules/sessions.toml", GOOD)]);
    assert!(report.passed() && report.untested.is_empty(), "{report}");
    assert_eq!(report.to_string(), "0 errors, 2 cases, 0 failed");
}

#[test]
fn mistakes_are_shown_in_the_file() {
    insta::assert_snapshot!(refused("live_bytes > params", "live_byte > params"), @r#"
    error: there is no fact called `live_byte`
     --> rules/sessions.toml:6:39
      |
    6 | when = "type contains \"Session\" and live_byte > params.floor"
      |                                       ^^^^^^^^^
      = help: did you mean `live_bytes`?
    "#);
    insta::assert_snapshot!(refused("floor = \"50 MB\"", "floor = \"50 min\""), @r#"
    error: `live_bytes` is a number of bytes and `params.floor` is a time span: they cannot be compared
     --> rules/sessions.toml:6:39
      |
    6 | when = "type contains \"Session\" and live_bytes > params.floor"
      |                                       ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: compare `live_bytes` with a number of bytes, such as `100 MB`
    "#);
    insta::assert_snapshot!(refused("explains =", "explain ="), @r#"
    error: there is no key called `explain` here
     --> rules/sessions.toml:7:1
      |
    7 | explain = "live_bytes"
      | ^^^^^^^
      = help: did you mean `explains`?
    "#);
    insta::assert_snapshot!(refused("retained-growth", "retained-grwth"), @r#"
    error: there is no category called `retained-grwth`
     --> rules/sessions.toml:2:12
      |
    2 | category = "retained-grwth"
      |            ^^^^^^^^^^^^^^^^
      = help: did you mean `retained-growth`?
    "#);
    insta::assert_snapshot!(refused("{count} {type}", "{cuont} {type}"), @r#"
    error: there is no fact called `cuont`
     --> rules/sessions.toml:9:13
      |
    9 | message = "{cuont} {type} objects take {live_bytes}"
      |             ^^^^^
      = help: did you mean `count`?
    "#);
    insta::assert_snapshot!(refused("End {type}", "End {tpe}"), @r#"
    error: there is no fact called `tpe`
      --> rules/sessions.toml:10:17
       |
    10 | advice = ["End {tpe} objects when their user leaves."]
       |                 ^^^
       = help: did you mean `type`?
    "#);
    insta::assert_snapshot!(refused("bytes = \"90 MB\"", "byts = \"90 MB\""), @r#"
    error: `types` has no column called `byts`
      --> rules/sessions.toml:20:56
       |
    20 | lists.types = [{ type = "Shop.Session", count = 9_000, byts = "90 MB", live_bytes = "80 MB" }]
       |                                                        ^^^^
       = help: did you mean `bytes`?
    "#);
    insta::assert_snapshot!(refused("role = \"cause\"\n", ""), @r#"
    error: `role` is missing
     --> rules/sessions.toml:1:1
      |
    1 | id = "big-sessions"
      | ^
      = help: write `role = "cause"`
    "#);
    insta::assert_snapshot!(refused("id = \"big-sessions\"", "id = \"big-sessions"), @r#"
    error: invalid basic string, expected `"`
     --> rules/sessions.toml:1:19
      |
    1 | id = "big-sessions
      |                   ^
    "#);
}

#[test]
fn every_key_is_checked() {
    for (from, to, message) in [
        (
            "role = \"cause\"",
            "role = \"casue\"",
            "did you mean `cause`?",
        ),
        (
            "for_each = \"types\"",
            "for_each = \"typs\"",
            "did you mean `types`?",
        ),
        (
            "for_each = \"types\"",
            "for_each = 5",
            "`for_each` needs a text in quotes, and this is an integer",
        ),
        (
            "id = \"big-sessions\"",
            "id = \"Big Sessions\"",
            "is no rule id",
        ),
        (
            "title = \"Sessions are kept\"",
            "title = \"\"",
            "`title` is empty",
        ),
        (
            "explains = \"live_bytes\"",
            "explains = \"count\"",
            "`explains` needs a number of bytes",
        ),
        ("culprit = \"{type}\"\n", "", "`culprit` is missing"),
        (
            "advice = [\"End {type} objects when their user leaves.\"]\n",
            "",
            "`advice` is missing",
        ),
        (
            "title =",
            "severity = \"fatal\"\ntitle =",
            "no severity called `fatal`",
        ),
        ("title =", "confidence = 101\ntitle =", "from 0 to 100"),
        (
            "title =",
            "path = \"type\"\ntitle =",
            "`path` needs a list of texts",
        ),
        (
            "title =",
            "docs = [\"http://x\"]\ntitle =",
            "a link is expected",
        ),
        ("title =", "verify = 5\ntitle =", "duplicate key"),
        (
            "title =",
            "doubts = [{ when = \"count > 5\" }]\ntitle =",
            "`confidence` is missing",
        ),
        (
            "title =",
            "critical = \"count\"\ntitle =",
            "a condition is expected",
        ),
        (
            "floor = \"50 MB\"",
            "floor = 50",
            "needs a quantity in quotes",
        ),
        (
            "expects = \"fires\"",
            "expects = \"fire\"",
            "did you mean `fires`?",
        ),
        (
            "culprit = \"Shop.Session\"",
            "sverity = \"warning\"",
            "did you mean `severity`?",
        ),
        ("count = 9_000", "count = \"many\"", "a count is expected"),
        (
            "lists.types",
            "facts = { \"loh.fre\" = \"5 MB\" }\nlists.types",
            "did you mean `loh.free`?",
        ),
        (
            "lists.types",
            "facts = { loh = { free = \"5 s\" } }\nlists.types",
            "a number of bytes is expected",
        ),
        ("lists.types", "lists.typs", "did you mean `types`?"),
    ] {
        let shown = refused(from, to);
        assert!(shown.contains(message), "{to}: {shown}");
        assert!(shown.contains("--> rules/sessions.toml:"), "{shown}");
    }
    assert!(
        Rule::parse("f", &"#".repeat(300_000))
            .unwrap_err()
            .message
            .contains("limit")
    );
}

#[test]
fn a_case_that_fails_says_how() {
    let bad = GOOD
        .replacen("live_bytes = \"80 KB\"", "live_bytes = \"80 MB\"", 1)
        .replacen("culprit = \"Shop.Session\"", "culprit = \"Shop.Other\"", 1);
    let report = catalog::check(&RuleSet::shipped(), [("s.toml", bad.as_str())]);
    assert!(!report.passed());
    insta::assert_snapshot!(report, @r"
    s.toml:16: big-sessions: many: expected culprit Shop.Other, got Shop.Session
    s.toml:22: big-sessions: few: expected quiet, got fires: 9 Shop.Session objects take 80 MB
    0 errors, 2 cases, 2 failed
    ");
}

#[test]
fn users_rules_lie_over_the_shipped_ones() {
    let shipped = RuleSet::shipped();
    let own = GOOD.replacen("big-sessions", "loh-fragmentation", 1);
    let set = shipped
        .clone()
        .overlay([("own.toml", own.as_str())])
        .unwrap();
    assert_eq!(
        set.rules().count(),
        shipped.rules().count(),
        "replaced, not added"
    );
    assert_eq!(set.get("loh-fragmentation").unwrap().file, "own.toml");
    let set = shipped.clone().overlay([("own.toml", GOOD)]).unwrap();
    assert_eq!(set.rules().count(), shipped.rules().count() + 1);
    let set = set.without(&["big-sessions".to_owned()].into());
    assert!(set.get("big-sessions").is_none());

    let errors = shipped
        .clone()
        .overlay([("a.toml", GOOD), ("b.toml", GOOD), ("c.toml", "id = 5")])
        .unwrap_err();
    let shown: Vec<String> = errors.iter().map(|e| e.message.clone()).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown[0].contains("is also in a.toml"), "{shown:?}");

    let dangling = GOOD.replacen("title =", "suppresses = [\"garbage-wating\"]\ntitle =", 1);
    let errors = shipped
        .overlay([("d.toml", dangling.as_str())])
        .unwrap_err();
    assert_eq!(
        errors[0].help.as_deref(),
        Some("did you mean `garbage-waiting`?")
    );
}

#[test]
fn a_rule_that_has_no_end_is_cut_off_and_says_so() {
    let endless = GOOD
        .replacen("for_each = \"types\"\n", "", 1)
        .replacen(
            "when = \"type contains \\\"Session\\\" and live_bytes > params.floor\"",
            "when = 'any in types where (any in statics where retained > 9 GB)'",
            1,
        )
        .replacen("explains = \"live_bytes\"\n", "", 1)
        .replacen("\"{type}\"", "\"heap\"", 1)
        .replacen("{count} {type} objects take {live_bytes}", "Too much", 1)
        .replacen("End {type} objects when their user leaves.", "Stop.", 1);
    let endless = endless.split("[params]").next().unwrap();
    let set = RuleSet::parse([("endless.toml", endless)]).unwrap();
    let mut sheet = leakhound_rules::FactSheet::default();
    // A sheet is a file that anybody may have written.
    for list in ["types", "statics"] {
        let row =
            leakhound_rules::Row::from([("retained".to_owned(), leakhound_rules::Value::Int(1))]);
        sheet.lists.insert(list.to_owned(), vec![row; 30_000]);
    }
    let diagnosis = leakhound_rules::judge(&sheet, &set);
    assert!(diagnosis.findings.is_empty());
    let missing = &diagnosis.not_judged[0].missing;
    assert!(
        missing
            .iter()
            .any(|m| m.contains("cut off after 200000 elements")),
        "{missing:?}"
    );
}

#[test]
fn parameters_are_set_per_service() {
    let set = |rule: &str, name: &str, value: &str| {
        let values = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        RuleSet::shipped().with_params(&BTreeMap::from([(rule.to_owned(), values)]))
    };
    let changed = set("loh-fragmentation", "floor", "2 GB").unwrap();
    assert_eq!(
        changed.get("loh-fragmentation").unwrap().params["floor"].value,
        2e9
    );
    let report = catalog::test_rules(changed.get("loh-fragmentation"));
    assert!(
        !report.passed(),
        "the rule's own cases see the new threshold"
    );
    for (rule, name, value, message) in [
        (
            "loh-fragmentation",
            "floor",
            "2 s",
            "needs the unit of the default",
        ),
        ("loh-fragmentation", "floor", "much", "is not a quantity"),
        (
            "loh-fragmentation",
            "flor",
            "2 GB",
            "which this rule does not have",
        ),
        ("loh-fragmentaton", "floor", "2 GB", "no rule called"),
    ] {
        let errors = set(rule, name, value).unwrap_err();
        assert!(errors[0].message.contains(message), "{}", errors[0]);
    }
}

#[test]
fn rules_and_facts_can_be_listed_and_explained() {
    let set = RuleSet::shipped();
    assert!(
        catalog::rules(&set)
            .iter()
            .any(|r| r.id == "static-root" && r.tests >= 4)
    );
    let facts = catalog::facts();
    for (name, unit, scope) in [
        ("loh.free", "bytes", "sheet"),
        ("time_to_limit", "ms", "live"),
        ("growing_statics.rate", "bytes/h", "growth"),
        ("pinned", "", "sheet"),
        ("counter(\"PROVIDER/NAME\")", "number", "live"),
    ] {
        let row = facts.iter().find(|f| f.name == name).unwrap();
        assert_eq!((row.unit, row.scope), (unit, scope), "{name}");
    }
    insta::assert_snapshot!(catalog::explain(set.get("loh-fragmentation").unwrap()), @r"
    loh-fragmentation: The large object heap is mostly holes
      category    loh-fragmentation (The large object heap is full of holes.)
      role        cause
      severity    warning, confidence 97%
      when        loh.free >= params.share of loh.committed and (loh.free >= params.floor or (loh.free >= 50% of memory.commit and loh.free >= params.small))
      critical    loh.free >= 50% of loh.committed and loh.free >= 500 MB
      explains    loh.free
      parameter   floor = 100 MB
      parameter   share = 30%
      parameter   small = 32 MB
      absorbs     heap-fragmentation
      read more   https://learn.microsoft.com/dotnet/standard/garbage-collection/large-object-heap
    ");
}

#[test]
fn deep_files_are_refused_not_overflowed() {
    for text in [
        format!("id = {}", "[".repeat(100_000)),
        format!("id = {}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("id = {}", "{ a = ".repeat(30_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[[test]]\nfacts.{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(Rule::parse("f.toml", &text).is_err());
    }
}

proptest! {
    #[test]
    fn damaged_rule_files_never_panic(cut in 0usize..GOOD.len(), insert in "\\PC{0,12}", remove in 0usize..40) {
        let mut text = GOOD.to_owned();
        let end = (cut + remove).min(text.len());
        text.replace_range(cut..end, &insert);
        if let Err(error) = Rule::parse("f.toml", &text) {
            prop_assert!(error.to_string().contains("f.toml:"));
        }
    }

    #[test]
    fn arbitrary_text_is_no_rule_and_no_panic(text in "\\PC{0,300}") {
        prop_assert!(Rule::parse("f.toml", &text).is_err());
    }
}
