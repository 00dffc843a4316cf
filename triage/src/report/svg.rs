//! Pictures as SVG text: the stacked bar and the map of the byte account, and bars in tables.
//!
//! Places and sizes are percentages, so a picture fits any width while its letters keep their size. Nothing carries a
//! `style` attribute: the page forbids inline styles, and colors come from classes.

mod squarify;

use std::fmt::Write;

use super::clean::{line, xml};
use super::view::{Account, Heap, View};
use squarify::{Rect, squarify};

/// A stacked bar of the byte account, as wide as its place.
#[must_use]
pub fn account_bar(account: &Account) -> String {
    let mut out = svg("bar", "Committed memory by part");
    let mut x = 0.0;
    for entry in account.filled() {
        let width = entry.share * 100.0;
        let _ = write!(
            out,
            r#"<rect class="p-{}" x="{}%" width="{}%" height="100%"><title>{}: {}, {}</title></rect>"#,
            entry.name,
            percent(x),
            percent(width),
            xml(entry.label),
            xml(&entry.text),
            xml(&entry.share_text),
        );
        x += width;
    }
    out.push_str("</svg>");
    out
}

/// A bar of `share` of its place, for a table.
#[must_use]
pub fn bar(share: f64, class: &str) -> String {
    stacked(&[(share, class)])
}

/// Bars in a row, for a table.
#[must_use]
pub fn stacked(parts: &[(f64, &str)]) -> String {
    let mut out = r#"<svg class="cell" aria-hidden="true">"#.to_owned();
    let mut x = 0.0;
    for (share, class) in parts {
        let width = share.clamp(0.0, 1.0) * 100.0;
        if width > 0.0 {
            // What is there at all is never invisible.
            let shown = width.max(0.4);
            let _ = write!(
                out,
                r#"<rect class="p-{class}" x="{}%" width="{}%" height="100%"/>"#,
                percent(x),
                percent(shown)
            );
            x += width;
        }
    }
    out.push_str("</svg>");
    out
}

/// A map of the byte account: each part an area as large as its share, the live heap divided by type.
/// Empty when there is nothing to draw.
#[must_use]
pub fn map(view: &View) -> String {
    let parts: Vec<_> = view.account.filled().collect();
    let areas: Vec<f64> = parts.iter().map(|entry| entry.share).collect();
    let rects = squarify(&areas, MAP);
    if rects.is_empty() {
        return String::new();
    }
    let mut out = svg(
        "map",
        "Committed memory as areas, the live part of the GC heap by type",
    );
    for (entry, rect) in parts.iter().zip(rects) {
        if entry.name == "gc_live" && !view.heap.live_types.is_empty() {
            live_types(
                &mut out,
                &view.heap,
                entry.share / entry.bytes.max(1) as f64,
                rect,
            );
        } else {
            let text = format!("{}, {}", entry.text, entry.share_text);
            tile(&mut out, entry.name, 0, entry.label, &text, rect);
        }
    }
    out.push_str("</svg>");
    out
}

/// Shape of the map while it is divided: letters and tiles are laid out for a page of about this many pixels.
const MAP: Rect = Rect {
    x: 0.0,
    y: 0.0,
    width: 1040.0,
    height: 340.0,
};
/// A tile narrower or lower than this shows no letters.
const LABEL_WIDTH_MIN: f64 = 56.0;
const LABEL_HEIGHT_MIN: f64 = 20.0;
/// A tile higher than this shows its size under its name.
const SIZE_HEIGHT_MIN: f64 = 38.0;
/// Width of a letter, roughly.
const LETTER: f64 = 6.6;
/// Shades of one color.
const SHADES: usize = 4;

fn live_types(out: &mut String, heap: &Heap, share_of_byte: f64, whole: Rect) {
    let areas: Vec<f64> = heap
        .live_types
        .iter()
        .map(|(_, bytes)| *bytes as f64)
        .collect();
    for (i, ((name, bytes), rect)) in heap
        .live_types
        .iter()
        .zip(squarify(&areas, whole))
        .enumerate()
    {
        let share = super::amount::share(*bytes as f64 * share_of_byte);
        let text = format!("{}, {share}", super::amount::bytes(*bytes));
        tile(out, "gc_live", i % SHADES, name, &text, rect);
    }
}

/// One area with its name and size, as far as they fit.
fn tile(out: &mut String, class: &str, shade: usize, label: &str, text: &str, rect: Rect) {
    let _ = write!(
        out,
        r#"<svg x="{}%" y="{}%" width="{}%" height="{}%"><rect class="p-{class} s{shade}" width="100%" height="100%"><title>{}: {}</title></rect>"#,
        percent(rect.x / MAP.width * 100.0),
        percent(rect.y / MAP.height * 100.0),
        percent(rect.width / MAP.width * 100.0),
        percent(rect.height / MAP.height * 100.0),
        xml(label),
        xml(text),
    );
    if rect.width >= LABEL_WIDTH_MIN && rect.height >= LABEL_HEIGHT_MIN {
        let letters = ((rect.width - 12.0) / LETTER) as usize;
        // A small tile gets the tightest place on a narrow screen: its letters go first.
        let small = if rect.width < 160.0 { " small" } else { "" };
        let _ = write!(
            out,
            r#"<text class="name{small}" x="7" y="17">{}</text>"#,
            xml(&line(label, letters))
        );
        if rect.height >= SIZE_HEIGHT_MIN {
            let _ = write!(
                out,
                r#"<text class="size{small}" x="7" y="33">{}</text>"#,
                xml(&line(text, letters))
            );
        }
    }
    out.push_str("</svg>");
}

fn svg(class: &str, title: &str) -> String {
    format!(
        r#"<svg class="{class}" role="img" aria-label="{}">"#,
        xml(title)
    )
}

/// A percentage with three decimals and no sign of zero: equal pictures are equal text.
fn percent(value: f64) -> String {
    let text = format!("{:.3}", value.clamp(0.0, 100.0));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
