//! The shipped rules: they load, they pass their own cases, and healthy processes stay quiet.
#![allow(clippy::unwrap_used)]

use leakhound_rules::pack::SHIPPED;
use leakhound_rules::{RuleSet, catalog};

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
