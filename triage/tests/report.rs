//! What people and programs read: golden reports, names that attack the reader, pages that load nothing, bounded sizes.
//!
//! `UPDATE_GOLDEN=1 cargo test -p leakhound-triage --test report` writes the golden files anew; read the difference.

#![allow(clippy::unwrap_used)]

mod samples;

use std::path::PathBuf;

use leakhound_triage::report::{Format, Style, render};
use samples::Sample;

fn report(sample: &Sample, format: Format) -> String {
    render(&sample.diagnosis, &sample.sheet, format, &Style::plain())
}

fn golden(name: &str, actual: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    let line = expected
        .lines()
        .zip(actual.lines())
        .position(|(a, b)| a != b);
    assert!(
        expected == actual,
        "{} differs, first in line {}; UPDATE_GOLDEN=1 writes it anew\nexpected: {}\nfound:    {}",
        file.display(),
        line.map_or_else(
            || "past the shorter end".to_owned(),
            |line| (line + 1).to_string()
        ),
        line.and_then(|line| expected.lines().nth(line))
            .unwrap_or_default(),
        line.and_then(|line| actual.lines().nth(line))
            .unwrap_or_default(),
    );
}

#[test]
fn reports_are_as_they_were_agreed() {
    for (name, sample) in [
        ("leak", samples::leak()),
        ("healthy", samples::healthy()),
        ("torn", samples::torn()),
    ] {
        for format in [Format::Text, Format::Markdown, Format::Html, Format::Json] {
            golden(
                &format!("{name}.{}", format.extension()),
                &report(&sample, format),
            );
        }
    }
    for (name, style) in [
        (
            "leak-color.txt",
            Style {
                color: true,
                width: 90,
                ..Style::plain()
            },
        ),
        (
            "leak-ascii-60.txt",
            Style {
                unicode: false,
                width: 60,
                ..Style::plain()
            },
        ),
    ] {
        let sample = samples::leak();
        golden(
            name,
            &render(&sample.diagnosis, &sample.sheet, Format::Text, &style),
        );
    }
}

#[test]
fn the_answer_comes_first_and_the_rest_in_order() {
    let text = report(&samples::leak(), Format::Text);
    assert!(
        text.starts_with("[LEAK]  Shop.Pricing.QuoteCache.Quotes keeps 1.04 GB alive"),
        "{text}"
    );
    let order = [
        "fabric:/Shop/Cart",
        "WHERE THE MEMORY WENT",
        "FINDINGS",
        "CRITICAL",
        "Do\n",
        "Evidence",
        "WARNING",
        "LARGEST TYPES",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn every_format_names_the_cause() {
    let sample = samples::leak();
    for format in Format::ALL {
        let report = report(&sample, format);
        assert!(
            report.contains("Shop.Pricing.QuoteCache.Quotes"),
            "{}",
            format.name()
        );
        assert!(
            report.ends_with('\n') && !report.ends_with("\n\n"),
            "{}",
            format.name()
        );
        assert_eq!(Format::named(format.name()), Some(format));
    }
}

#[test]
fn json_is_the_diagnosis_and_nothing_else() {
    let sample = samples::leak();
    let text = report(&sample, Format::Json);
    let back: leakhound_rules::Diagnosis = serde_json::from_str(&text).unwrap();
    assert_eq!(back, sample.diagnosis);
    let keys = [
        "\"schema\"",
        "\"verdict\"",
        "\"headline\"",
        "\"runtime\"",
        "\"completeness\"",
        "\"findings\"",
        "\"memory\"",
        "\"facts\"",
    ];
    let places: Vec<_> = keys
        .iter()
        .map(|key| text.find(&format!("\n  {key}")).unwrap())
        .collect();
    assert!(places.is_sorted(), "the order of the contract: {places:?}");
}

#[test]
fn equal_input_gives_equal_bytes() {
    for format in Format::ALL {
        assert_eq!(
            report(&samples::leak(), format),
            report(&samples::leak(), format),
            "{}",
            format.name()
        );
    }
}

#[test]
fn text_obeys_the_width() {
    for width in [60, 80, 100, 120] {
        let sample = samples::leak();
        let text = render(
            &sample.diagnosis,
            &sample.sheet,
            Format::Text,
            &Style {
                width,
                ..Style::plain()
            },
        );
        for line in text.lines() {
            let longest_word = line
                .split_whitespace()
                .map(|word| word.chars().count())
                .max()
                .unwrap_or(0);
            // A name longer than the room it has stays whole: it will be copied.
            assert!(
                line.chars().count() <= width || longest_word > 26,
                "{width}: {line}"
            );
            assert_eq!(line, line.trim_end(), "blanks at the end of a line");
        }
    }
}

#[test]
fn without_colors_there_is_no_escape_and_with_them_every_one_ends() {
    let sample = samples::leak();
    assert!(!report(&sample, Format::Text).contains('\u{1b}'));
    let color = render(
        &sample.diagnosis,
        &sample.sheet,
        Format::Text,
        &Style {
            color: true,
            ..Style::plain()
        },
    );
    for line in color.lines() {
        let starts = line.matches("\u{1b}[").count() - line.matches("\u{1b}[0m").count();
        assert_eq!(starts, line.matches("\u{1b}[0m").count(), "{line:?}");
    }
}

#[test]
fn ascii_means_ascii() {
    let sample = samples::healthy();
    let text = render(
        &sample.diagnosis,
        &sample.sheet,
        Format::Text,
        &Style {
            unicode: false,
            ..Style::plain()
        },
    );
    assert!(
        text.is_ascii(),
        "{:?}",
        text.chars().find(|c| !c.is_ascii())
    );
}

/// What stands between angle brackets, outside the style sheet.
fn tags(html: &str) -> Vec<&str> {
    let (before, rest) = html.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    [before, after]
        .into_iter()
        .flat_map(|part| part.split('<').skip(1))
        .map(|piece| piece.split_once('>').map_or(piece, |(tag, _)| tag))
        .collect()
}

/// Markdown without its code spans.
fn outside_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some(start) = rest.find('`') {
        // An escaped backtick is text.
        if rest[..start].ends_with('\\') {
            out.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        }
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let fence = rest.len() - rest.trim_start_matches('`').len();
        let mut at = fence;
        loop {
            let next = at + rest[at..].find('`').expect("a code span that does not end");
            let run = rest[next..].len() - rest[next..].trim_start_matches('`').len();
            at = next + run;
            if run == fence {
                break;
            }
        }
        rest = &rest[at..];
    }
    out + rest
}

#[test]
fn a_page_contains_only_its_own_tags() {
    const ALLOWED: &[&str] = &[
        "!doctype", "html", "head", "meta", "title", "body", "header", "main", "footer", "section",
        "p", "span", "bdi", "h1", "h2", "h3", "dl", "dt", "dd", "div", "strong", "b", "small",
        "table", "thead", "tbody", "tfoot", "tr", "th", "td", "svg", "rect", "text", "details",
        "summary", "ol", "ul", "li", "code",
    ];
    for sample in [
        samples::leak(),
        samples::healthy(),
        samples::torn(),
        samples::hostile(),
    ] {
        let html = report(&sample, Format::Html);
        let mut open = Vec::new();
        for tag in tags(&html) {
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/', '\n'])
                .next()
                .unwrap();
            assert!(
                ALLOWED.contains(&name),
                "<{tag}> in {}",
                sample.diagnosis.headline
            );
            for attribute in [" on", " src", " href=", " style=", " action="] {
                assert!(!tag.contains(attribute), "<{tag}>");
            }
            // What is opened is closed, in order.
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "</{name}>");
            } else if !tag.ends_with('/') && !["meta", "!doctype"].contains(&name) {
                open.push(name.to_owned());
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn a_page_loads_nothing() {
    for sample in [samples::leak(), samples::hostile()] {
        let html = report(&sample, Format::Html);
        for word in [
            "http://", "https://", "@import", "url(", "<script", "<link", "<iframe", "<img",
            "<object", "<base",
        ] {
            assert!(!html.contains(word), "{word}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}

#[test]
fn the_policy_of_a_page_admits_its_style_sheet() {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let html = report(&samples::leak(), Format::Html);
    let (_, rest) = html.split_once("<style>").unwrap();
    let (css, _) = rest.split_once("</style>").unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(css.as_bytes()));
    assert!(
        html.contains(&format!("style-src 'sha256-{hash}'")),
        "a browser would refuse the style sheet"
    );
}

#[test]
fn hostile_names_stay_names() {
    let sample = samples::hostile();
    let text = report(&sample, Format::Text);
    let color = render(
        &sample.diagnosis,
        &sample.sheet,
        Format::Text,
        &Style {
            color: true,
            ..Style::plain()
        },
    );
    let markdown = report(&sample, Format::Markdown);
    let html = report(&sample, Format::Html);
    for (format, report) in [("text", &text), ("md", &markdown), ("html", &html)] {
        let bad = report.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || ('\u{202a}'..='\u{202e}').contains(c)
                || ('\u{2066}'..='\u{2069}').contains(c)
        });
        assert_eq!(bad, None, "{format}");
    }
    // Our own colors are the only sequences.
    assert!(color.split('\u{1b}').skip(1).all(|rest| {
        let end = rest.find('m').unwrap();
        rest.starts_with('[') && rest[1..end].chars().all(|c| c.is_ascii_digit() || c == ';')
    }));
    // Outside code spans, markup is escaped; nothing is a template twice.
    assert!(!html.contains("alert(1)</script>") && html.contains("&lt;script&gt;"));
    let prose = outside_code(&markdown);
    assert!(
        !prose.contains("[link]") && !prose.contains('<'),
        "markup got through"
    );
    assert!(
        !text.contains("49") || text.contains("7*7"),
        "a template was run in a name"
    );
}

#[test]
fn markdown_tables_keep_their_columns() {
    let markdown = report(&samples::hostile(), Format::Markdown);
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = markdown.lines().collect();
    let mut tables = 0;
    for window in lines.windows(2) {
        if window[1].starts_with("|--") {
            tables += 1;
        }
        let both = window.iter().all(|line| line.starts_with('|'));
        if both {
            assert_eq!(
                columns(window[0]),
                columns(window[1]),
                "{}\n{}",
                window[0],
                window[1]
            );
        }
    }
    assert!(tables >= 3, "{tables}");
}

#[test]
fn no_report_grows_with_what_the_process_holds() {
    let sample = samples::huge();
    for (format, limit) in [
        (Format::Text, 24_000),
        (Format::Markdown, 48_000),
        (Format::Html, 600_000),
    ] {
        let size = report(&sample, format).len();
        assert!(size < limit, "{}: {size} bytes", format.name());
    }
    let text = report(&sample, Format::Text);
    assert!(text.contains("… and 985 more"), "what is cut is counted");
    assert!(text.contains("988 more …"), "long paths lose their middle");
}
