//! Any text as an expression or a quantity: refused, or read and printed to text that reads the same.
#![no_main]

use leakhound_rules::parser::parse;
use leakhound_rules::units::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Quantity::parse(text);
    if let Ok(node) = parse(text) {
        let printed = node.to_string();
        assert!(parse(&printed).is_ok(), "{printed}");
    }
});
