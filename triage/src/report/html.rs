//! The report as one page: no script, nothing loaded from anywhere, readable in the dark, on a phone and on paper.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Value};
use sha2::{Digest, Sha256};

use super::view::View;
use super::{svg, template};

const CSS: &str = include_str!("templates/report.css");

/// Lays the report out as a page.
#[must_use]
pub fn render(view: &View) -> String {
    let mut environment = template::environment();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let policy = policy();
    let bar = svg::account_bar(&view.account);
    let map = svg::map(view);
    // These are ours, escaped where they quote the dump; everything else is escaped by the template.
    environment.add_global("css", Value::from_safe_string(CSS.to_owned()));
    environment.add_global("policy", Value::from_safe_string(policy));
    environment.add_global("account_bar", Value::from_safe_string(bar));
    environment.add_global("map", Value::from_safe_string(map));
    environment.add_filter("bar", |share: f64, class: &str| {
        Value::from_safe_string(svg::bar(share, class))
    });
    environment.add_filter("generation", |parts: Vec<f64>| {
        let classes = ["gc_live", "gc_garbage", "gc_free", "gc_empty"];
        let parts: Vec<(f64, &str)> = parts.into_iter().zip(classes).collect();
        Value::from_safe_string(svg::stacked(&parts))
    });
    template::render(
        &environment,
        "report.html",
        include_str!("templates/report.html.j2"),
        view,
    )
}

/// What the page may load: nothing but its own style sheet, known by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(CSS.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}
