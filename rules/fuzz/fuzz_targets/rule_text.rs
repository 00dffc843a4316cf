//! Any text as an expression, as a trigger and as a rule file: refused or read, never a panic, and what is
//! read prints to text that reads the same.
#![no_main]

use leakhound_rules::parser::parse;
use leakhound_rules::units::Quantity;
use leakhound_rules::{FactSheet, Rule, RuleSet, Trigger, judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Quantity::parse(text);
    let _ = Trigger::parse(text);
    if let Ok(node) = parse(text) {
        let printed = node.to_string();
        assert!(parse(&printed).is_ok(), "{printed}");
    }
    if Rule::parse("fuzz.toml", text).is_ok()
        && let Ok(set) = RuleSet::parse([("fuzz.toml", text)])
    {
        let _ = judge(&FactSheet::default(), &set);
    }
});
