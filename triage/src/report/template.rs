//! The templates: embedded, strict, and with a bound on the work they may do.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};

use super::view::View;

/// Steps a template may take; a report takes some ten thousand.
const FUEL: u64 = 5_000_000;

/// An environment in which a name that does not exist is an error, not an empty string.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    environment.add_filter("length", minijinja::filters::length);
    environment
}

/// A line that holds a tag and nothing else leaves no trace.
fn syntax() -> SyntaxConfig {
    let blocks = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    // Only delimiters can be wrong, and they are the defaults.
    blocks.unwrap_or_default()
}

/// Renders an embedded template. It can only fail when the template itself is wrong, which tests would show; then the
/// text says so instead of taking a diagnosis down with it.
pub fn render(environment: &Environment<'_>, name: &str, source: &str, view: &View) -> String {
    match environment.render_named_str(name, source, Serde(view)) {
        Ok(text) => format!("{}\n", text.trim_end()),
        Err(error) => format!(
            "The report could not be laid out: {error:#}. The JSON format has everything.\n"
        ),
    }
}
