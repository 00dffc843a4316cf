//! The `leakhound` command.
fn main() {}
