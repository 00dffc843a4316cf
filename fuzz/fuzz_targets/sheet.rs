//! Any bytes as a fact sheet: refused, or judged by the shipped rules.
#![no_main]

use leakhound_rules::{FactSheet, RuleSet, judge};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static RULES: LazyLock<RuleSet> = LazyLock::new(RuleSet::shipped);

fuzz_target!(|data: &[u8]| {
    if let Ok(sheet) = serde_json::from_slice::<FactSheet>(data) {
        let _ = judge(&sheet, &RULES);
    }
});
