//! The shipped rules: they load, they pass their own cases, and healthy processes stay quiet.
#![allow(clippy::unwrap_used)]

use leakhound_rules::pack::SHIPPED;
use leakhound_rules::{Category, RuleSet, catalog};

#[test]
fn shipped_rules_pass_their_own_tests() {
    let set = RuleSet::parse(SHIPPED.iter().copied()).unwrap_or_else(|errors| {
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", shown.join("\n\n"))
    });
    let report = catalog::test_rules(set.rules());
    assert!(report.passed(), "{report}");
    assert!(report.untested.is_empty(), "{report}");
    assert!(report.tests.len() > 100, "{report}");
}

#[test]
fn the_catalogue_pages_are_fresh() {
    for (name, page) in [
        ("README.md", catalog::page(&RuleSet::shipped())),
        ("FACTS.md", catalog::facts_page()),
    ] {
        let path = format!("{}/packs/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("LEAKHOUND_BLESS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "packs/{name} is stale: run LEAKHOUND_BLESS=1 cargo test -p leakhound-rules"
        );
    }
}

#[test]
fn every_category_has_a_rule() {
    let set = RuleSet::shipped();
    assert!(set.rules().count() >= 50);
    for category in Category::ALL {
        assert!(
            set.rules().any(|rule| rule.category == *category),
            "no rule for {category}"
        );
    }
}

#[test]
fn every_shipped_rule_tells_a_person_what_to_do() {
    for rule in RuleSet::shipped().rules() {
        assert!(
            !rule.tools().is_empty(),
            "{}: no way to check it by hand",
            rule.id
        );
        assert!(
            !rule.title.ends_with('.') && rule.title.len() <= 70,
            "{}",
            rule.title
        );
        let file = rule.file.rsplit('/').next().unwrap();
        assert_eq!(file, format!("{}.toml", rule.id));
    }
}
