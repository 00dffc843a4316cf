//! The text of a ticket, and how each kind of ticket system writes it.
//!
//! Every piece of text comes from a heap or a configuration and is only text: each form escapes what would be markup in it, and
//! breaks up what would call somebody (`@name`, `#12`).

use crate::notify::message::Message;
use serde_json::{Value, json};

/// One part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A paragraph.
    Paragraph(String),
    /// Labels with values.
    Rows(Vec<(&'static str, String)>),
    /// A label with a name from the code.
    Code(&'static str, String),
    /// A label with a list.
    List(&'static str, Vec<String>),
    /// An address.
    Link(&'static str, String),
    /// What machines look for.
    Mark(String),
}

/// A text in parts, the most important first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The parts.
    pub pieces: Vec<Piece>,
}

impl Document {
    /// The document of a message, with the key and the label that it is found by.
    #[must_use]
    pub fn of(message: &Message, key: &str, label: &str) -> Self {
        let mut pieces = vec![Piece::Paragraph(message.headline.clone())];
        if let Some(cause) = &message.cause {
            for text in [&cause.title, &cause.sentence] {
                let said = |piece: &Piece| matches!(piece, Piece::Paragraph(said) if said == text);
                if !text.is_empty() && !pieces.iter().any(said) {
                    pieces.push(Piece::Paragraph(text.clone()));
                }
            }
        }
        pieces.push(Piece::Rows(message.rows()));
        pieces.extend(message.owner().map(|owner| Piece::Code("Owner", owner)));
        let advice = message.cause.as_ref().map(|cause| cause.advice.clone());
        for (title, lines) in [
            ("What to do", advice.unwrap_or_default()),
            ("Also found", message.further()),
        ] {
            if !lines.is_empty() {
                pieces.push(Piece::List(title, lines));
            }
        }
        let link = message.context.link.clone();
        pieces.extend(link.map(|link| Piece::Link("Report", link)));
        if message.sample {
            pieces.push(Piece::Paragraph(
                "Sample sent by leakhound notify test: there is no incident.".to_owned(),
            ));
        }
        pieces.push(Piece::Mark(format!("{label} {key}")));
        Document { pieces }
    }
}

/// Plain text.
#[must_use]
pub fn plain(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Paragraph(text) | Piece::Mark(text) => text.clone(),
        Piece::Rows(rows) => lines(rows, |(label, value)| format!("{label}: {value}")),
        Piece::Code(label, text) | Piece::Link(label, text) => format!("{label}: {text}"),
        Piece::List(label, list) => {
            format!("{label}:\n{}", lines(list, |line| format!("- {line}")))
        }
    };
    joined(document, "\n\n", write)
}

/// Markdown as GitHub and GitLab write it.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Paragraph(text) => markdown_text(text),
        Piece::Rows(rows) => lines(rows, |(label, value)| {
            format!("- **{label}:** {}", markdown_text(value))
        }),
        Piece::Code(label, text) => format!("**{label}:** {}", markdown_code(text)),
        Piece::List(label, list) => format!(
            "**{label}**\n\n{}",
            lines(list, |line| format!("- {}", markdown_text(line)))
        ),
        Piece::Link(label, address) => format!("[{label}](<{address}>)"),
        Piece::Mark(text) => format!("<sub>{}</sub>", markdown_text(text)),
    };
    joined(document, "\n\n", write)
}

/// HTML without styles.
#[must_use]
pub fn html(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Paragraph(text) => format!("<p>{}</p>", html_text(text)),
        Piece::Rows(rows) => format!(
            "<ul>{}</ul>",
            each(rows, |(label, value)| format!(
                "<li><b>{label}:</b> {}</li>",
                html_text(value)
            ))
        ),
        Piece::Code(label, text) => {
            format!("<p><b>{label}:</b> <code>{}</code></p>", html_text(text))
        }
        Piece::List(label, list) => format!(
            "<p><b>{label}</b></p><ul>{}</ul>",
            each(list, |line| format!("<li>{}</li>", html_text(line)))
        ),
        Piece::Link(label, address) => {
            format!("<p><a href=\"{}\">{label}</a></p>", html_text(address))
        }
        Piece::Mark(text) => format!("<p><small>{}</small></p>", html_text(text)),
    };
    joined(document, "", write)
}

/// The markup of Jira Data Center.
#[must_use]
pub fn wiki(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Paragraph(text) | Piece::Mark(text) => wiki_text(text),
        Piece::Rows(rows) => lines(rows, |(label, value)| {
            format!("* *{label}:* {}", wiki_text(value))
        }),
        // Nothing is markup inside, and nothing but the end of it ends it.
        Piece::Code(label, text) => format!(
            "*{label}:*\n{{noformat}}{}{{noformat}}",
            text.replace("{noformat}", "{ noformat }")
        ),
        Piece::List(label, list) => format!(
            "*{label}*\n{}",
            lines(list, |line| format!("* {}", wiki_text(line)))
        ),
        Piece::Link(label, address) => format!("[{label}|{}]", address.replace('|', "%7C")),
    };
    joined(document, "\n\n", write)
}

/// The document format of Jira Cloud (ADF, version 1), as JSON text.
#[must_use]
pub fn adf(document: &Document) -> String {
    adf_value(document).to_string()
}

/// The same as a value.
#[must_use]
pub fn adf_value(document: &Document) -> Value {
    let content: Vec<Value> = document.pieces.iter().flat_map(adf_piece).collect();
    json!({ "version": 1, "type": "doc", "content": content })
}

fn adf_piece(piece: &Piece) -> Vec<Value> {
    let paragraph = |content: Vec<Value>| json!({ "type": "paragraph", "content": content });
    let strong = |text: &str| adf_text(text, json!([{ "type": "strong" }]));
    let items = |items: Vec<Vec<Value>>| {
        let items: Vec<Value> = items
            .into_iter()
            .map(|content| json!({ "type": "listItem", "content": [paragraph(content)] }))
            .collect();
        json!({ "type": "bulletList", "content": items })
    };
    match piece {
        Piece::Paragraph(text) | Piece::Mark(text) => {
            vec![paragraph(vec![adf_text(text, json!([]))])]
        }
        Piece::Rows(rows) => vec![items(
            rows.iter()
                .map(|(label, value)| {
                    vec![strong(&format!("{label}: ")), adf_text(value, json!([]))]
                })
                .collect(),
        )],
        Piece::Code(label, text) => vec![paragraph(vec![
            strong(&format!("{label}: ")),
            adf_text(text, json!([{ "type": "code" }])),
        ])],
        Piece::List(label, list) => vec![
            paragraph(vec![strong(label)]),
            items(
                list.iter()
                    .map(|line| vec![adf_text(line, json!([]))])
                    .collect(),
            ),
        ],
        Piece::Link(label, address) => vec![paragraph(vec![adf_text(
            label,
            json!([{ "type": "link", "attrs": { "href": address } }]),
        )])],
    }
}

/// A text node must not be empty.
fn adf_text(text: &str, marks: Value) -> Value {
    let text = if text.is_empty() { "-" } else { text };
    match marks.as_array().is_some_and(Vec::is_empty) {
        true => json!({ "type": "text", "text": text }),
        false => json!({ "type": "text", "text": text, "marks": marks }),
    }
}

fn joined(document: &Document, between: &str, write: impl Fn(&Piece) -> String) -> String {
    document
        .pieces
        .iter()
        .map(write)
        .collect::<Vec<_>>()
        .join(between)
}

fn lines<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    items.iter().map(write).collect::<Vec<_>>().join("\n")
}

fn each<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    items.iter().map(write).collect()
}

/// Text as Markdown shows it: every ASCII mark may be escaped (CommonMark 2.4); what is HTML becomes entities; mentions and
/// references get a word joiner.
#[must_use]
pub fn markdown_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' | '#' | '!' | '%' | '$' => out.extend([c, '\u{2060}']),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '|' | '~' => {
                out.extend(['\\', c]);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Text as a span of code: it is ended by as many backticks as begin it, one more than the text has in a row.
#[must_use]
pub fn markdown_code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    format!("{fence} {text} {fence}")
}

/// Text as HTML shows it.
#[must_use]
pub fn html_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

fn wiki_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if "\\{}[]*_-+^~?|!#@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document {
            pieces: vec![
                Piece::Paragraph("List<Order> *grew* @all #12".to_owned()),
                Piece::Rows(vec![("Where", "node_1".to_owned())]),
                Piece::Code("Owner", "A`b``c".to_owned()),
                Piece::List("What to do", vec!["Bound [it](x)".to_owned()]),
                Piece::Link("Report", "https://example.org/a|b".to_owned()),
                Piece::Mark("leakhound-1 lh-2".to_owned()),
            ],
        }
    }

    #[test]
    fn text_stays_text_in_every_form() {
        let text = markdown(&document());
        assert!(text.starts_with("List&lt;Order&gt; \\*grew\\* @\u{2060}all #\u{2060}12\n\n"));
        assert!(text.contains("``` A`b``c ```") && text.contains("Bound \\[it\\]\\(x\\)"));
        let text = html(&document());
        assert!(text.contains("List&lt;Order&gt;") && !text.contains("<Order>"));
        let text = wiki(&document());
        assert!(text.contains("\\*grew\\*") && text.contains("[Report|https://example.org/a%7Cb]"));
        assert!(plain(&document()).contains("List<Order> *grew* @all #12"));
    }

    #[test]
    fn a_cloud_document_has_no_empty_text() {
        let mut document = document();
        document.pieces.push(Piece::Paragraph(String::new()));
        fn check(value: &Value) {
            if value["type"] == "text" {
                assert_ne!(value["text"], "");
            }
            let children = value["content"].as_array().into_iter().flatten();
            children.for_each(check);
        }
        let value = adf_value(&document);
        assert_eq!(value["content"].as_array().map(Vec::len), Some(8));
        check(&value);
    }
}
