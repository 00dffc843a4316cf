//! Any text as a trigger and as a rule file: refused, or read and judged.
#![no_main]

use leakhound_rules::{FactSheet, Rule, RuleSet, Trigger, judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Trigger::parse(text);
    if Rule::parse("fuzz.toml", text).is_ok()
        && let Ok(set) = RuleSet::parse([("fuzz.toml", text)])
    {
        let _ = judge(&FactSheet::default(), &set);
    }
});
