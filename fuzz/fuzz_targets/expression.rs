//! Any text as an expression or a quantity: refused, or read and printed to text that reads the same.
#![no_main]

use leakhound_rules::lexer::MAX_EXPRESSION_BYTES;
use leakhound_rules::parser::parse;
use leakhound_rules::units::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Quantity::parse(text);
    if let Ok(node) = parse(text) {
        let printed = node.to_string();
        // Printed text has every parenthesis and space, so it may be longer than what is read.
        assert!(
            printed.len() > MAX_EXPRESSION_BYTES || parse(&printed).is_ok(),
            "{printed}"
        );
    }
});
