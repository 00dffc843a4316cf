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
    let mut parts: Vec<_> = view.account.filled().collect();
    parts.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
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
            tile(
                &mut out,
                &Tile {
                    class: entry.name,
                    shade: 0,
                    label: short(entry.name, entry.label),
                    title: entry.label,
                    bytes: &entry.text,
                    share: &entry.share_text,
                },
                rect,
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// Shape of the map while it is divided: letters and tiles are laid out for a page of about this many pixels.
const MAP: Rect = Rect {
    x: 0.0,
    y: 0.0,
    width: 640.0,
    height: 400.0,
};
/// A tile narrower or lower than this shows no letters.
const LABEL_WIDTH_MIN: f64 = 52.0;
const LABEL_HEIGHT_MIN: f64 = 20.0;
/// A tile higher than this shows its size under its name.
const SIZE_HEIGHT_MIN: f64 = 38.0;
/// Width of a letter, roughly.
const LETTER: f64 = 7.5;
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
        let shown = without_namespaces(name);
        let tile_of = Tile {
            class: "gc_live",
            shade: i % SHADES,
            label: &shown,
            title: name,
            bytes: &super::amount::bytes(*bytes),
            share: &share,
        };
        tile(out, &tile_of, rect);
    }
}

/// What stands in a tile where there is little room.
fn short(entry: &str, label: &'static str) -> &'static str {
    match entry {
        "gc_live" => "GC live",
        "gc_garbage" => "GC garbage",
        "gc_free" => "GC holes",
        "gc_empty" => "GC empty",
        "runtime" => "Runtime",
        "native" => "Native",
        "stacks" => "Stacks",
        _ => label,
    }
}

/// An area of the map.
struct Tile<'a> {
    class: &'a str,
    shade: usize,
    /// What stands in it.
    label: &'a str,
    /// What it is called in full.
    title: &'a str,
    bytes: &'a str,
    share: &'a str,
}

/// One area with its name and size, as far as they fit.
fn tile(out: &mut String, tile: &Tile<'_>, rect: Rect) {
    let _ = write!(
        out,
        r#"<svg x="{}%" y="{}%" width="{}%" height="{}%"><rect class="p-{} s{}" width="100%" height="100%"><title>{}: {}, {}</title></rect>"#,
        percent(rect.x / MAP.width * 100.0),
        percent(rect.y / MAP.height * 100.0),
        percent(rect.width / MAP.width * 100.0),
        percent(rect.height / MAP.height * 100.0),
        tile.class,
        tile.shade,
        xml(tile.title),
        xml(tile.bytes),
        xml(tile.share),
    );
    if rect.width >= LABEL_WIDTH_MIN && rect.height >= LABEL_HEIGHT_MIN {
        let letters = ((rect.width - 10.0) / LETTER) as usize;
        // On a narrow screen the letters of small tiles go first.
        let small = if rect.width < 130.0 { " small" } else { "" };
        let label = xml(&line(tile.label, letters));
        let _ = write!(
            out,
            r#"<text class="name{small}" x="6" y="17">{label}</text>"#
        );
        if rect.height >= SIZE_HEIGHT_MIN {
            let both = format!("{}, {}", tile.bytes, tile.share);
            let size = if both.chars().count() <= letters {
                &both
            } else {
                tile.bytes
            };
            let _ = write!(
                out,
                r#"<text class="size{small}" x="6" y="33">{}</text>"#,
                xml(size)
            );
        }
    }
    out.push_str("</svg>");
}

/// `Dictionary<String, Order>.Entry[]` of a full name: in a small place the namespaces are what to leave out.
fn without_namespaces(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut word_start = 0;
    let mut before = None;
    for c in name.chars() {
        match c {
            // A dot after a word ends a namespace; after anything else it joins a nested type.
            '.' if before.is_some_and(|b: char| b.is_alphanumeric() || b == '_') => {
                out.truncate(word_start)
            }
            c => {
                out.push(c);
                if !(c.is_alphanumeric() || c == '_') {
                    word_start = out.len();
                }
            }
        }
        before = Some(c);
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_namespaces_is_still_a_type() {
        let cases = [
            ("System.String", "String"),
            ("System.Byte[]", "Byte[]"),
            (
                "System.Collections.Generic.Dictionary<System.String, Shop.Order>.Entry[]",
                "Dictionary<String, Order>.Entry[]",
            ),
            ("all other types", "all other types"),
            ("", ""),
            ("...", "..."),
        ];
        for (full, short) in cases {
            assert_eq!(without_namespaces(full), short);
        }
    }

    #[test]
    fn percentages_are_short_and_bounded() {
        assert_eq!(percent(12.5), "12.5");
        assert_eq!(percent(100.0), "100");
        assert_eq!(percent(-0.0001), "0");
        assert_eq!(percent(1.0 / 3.0), "0.333");
    }
}
