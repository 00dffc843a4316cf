//! What a message says, in parts, and how each kind of system writes plain parts.
//!
//! One order for everybody: the most important first, so that what is cut off is what matters least. Every piece of text comes
//! from a heap or a configuration and is only text: each form escapes what would be markup in it, and breaks up what would call
//! somebody (`@name`, `#12`).

use super::message::Message;
use crate::report::clean::xml;
use serde_json::{Value, json};

/// What stands on a link to the report.
pub const OPEN: &str = "Open the report";

/// One part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The answer in one sentence.
    Lead(String),
    /// A paragraph.
    Paragraph(String),
    /// Labels with values.
    Rows(Vec<(&'static str, String)>),
    /// A label with a name from the code.
    Code(&'static str, String),
    /// A label with steps to take.
    Steps(&'static str, Vec<String>),
    /// A label with lines that bear their own numbers.
    Lines(&'static str, Vec<String>),
    /// The address of the report.
    Link(String),
    /// Small print.
    Note(&'static str),
    /// What machines look for.
    Mark(String),
}

/// A text in parts, the most important first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// One character that shows the severity.
    pub mark: &'static str,
    /// The first line.
    pub title: String,
    /// The parts below it.
    pub pieces: Vec<Piece>,
}

impl Document {
    /// What a message says; `maybe_sent`: an earlier attempt may have arrived.
    #[must_use]
    pub fn of(message: &Message, maybe_sent: bool) -> Self {
        let mut pieces = match &message.words {
            Some(words) => words.lines.iter().cloned().map(Piece::Paragraph).collect(),
            None => standard(message),
        };
        let link = message.context.link.clone();
        pieces.extend(link.map(Piece::Link));
        if message.sample {
            let note = "Sample sent by leakhound notify test: there is no incident.";
            pieces.push(Piece::Note(note));
        }
        if maybe_sent {
            let note = "Sent again: the first attempt ended without an answer.";
            pieces.push(Piece::Note(note));
        }
        Document {
            mark: message.mark(),
            title: message.title(),
            pieces,
        }
    }

    /// With the words that it is found by.
    #[must_use]
    pub fn marked(mut self, label: &str, key: &str) -> Self {
        self.pieces.push(Piece::Mark(format!("{label} {key}")));
        self
    }

    /// Mark and title.
    #[must_use]
    pub fn heading(&self) -> String {
        format!("{} {}", self.mark, self.title)
    }
}

/// What, how much, how sure, where, since when, whose, what to do, what else.
fn standard(message: &Message) -> Vec<Piece> {
    let mut pieces = vec![Piece::Lead(message.headline.clone())];
    let mut said = vec![message.headline.as_str()];
    for text in message
        .cause
        .iter()
        .flat_map(|cause| [cause.title.as_str(), &cause.sentence])
    {
        if !text.is_empty() && !said.contains(&text) {
            said.push(text);
            pieces.push(Piece::Paragraph(text.to_owned()));
        }
    }
    pieces.push(Piece::Rows(message.rows()));
    pieces.extend(message.owner().map(|owner| Piece::Code("Owner", owner)));
    let advice = message.cause.as_ref().map(|cause| cause.advice.clone());
    let advice = advice.filter(|advice| !advice.is_empty());
    pieces.extend(advice.map(|advice| Piece::Steps("What to do", advice)));
    let further = message.further();
    if !further.is_empty() {
        pieces.push(Piece::Lines("Also found", further));
    }
    pieces
}

/// Makes a message shorter from the bottom until what `write` makes of it fits.
pub fn fitted<T>(message: &Message, write: impl Fn(&Message) -> T, fits: impl Fn(&T) -> bool) -> T {
    let mut message = message.clone();
    loop {
        let written = write(&message);
        if fits(&written) || !message.shed() {
            return written;
        }
    }
}

/// So many characters at most; the last of a longer text is an ellipsis.
#[must_use]
pub fn truncate(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some(_) => text.chars().take(chars - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// Plain text.
#[must_use]
pub fn plain(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Lead(text) | Piece::Paragraph(text) | Piece::Mark(text) => text.clone(),
        Piece::Rows(rows) => lines(rows, |(label, value)| format!("{label}: {value}")),
        Piece::Code(label, text) => format!("{label}: {text}"),
        Piece::Link(address) => format!("Report: {address}"),
        Piece::Steps(label, list) => {
            format!("{label}:\n{}", lines(list, |line| format!("• {line}")))
        }
        Piece::Lines(label, list) => format!("{label}:\n{}", list.join("\n")),
        Piece::Note(text) => (*text).to_owned(),
    };
    joined(document, "\n", write)
}

/// Markdown as GitHub, GitLab and Mattermost write it.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Lead(text) => format!("**{}**", markdown_text(text)),
        Piece::Paragraph(text) => markdown_text(text),
        Piece::Rows(rows) => lines(rows, |(label, value)| {
            format!("- **{label}:** {}", markdown_text(value))
        }),
        Piece::Code(label, text) => format!("**{label}:** {}", markdown_code(text)),
        Piece::Steps(label, list) | Piece::Lines(label, list) => format!(
            "**{label}**\n\n{}",
            lines(list, |line| format!("- {}", markdown_text(line)))
        ),
        Piece::Link(address) => format!("[{OPEN}](<{address}>)"),
        Piece::Note(text) => format!("*{}*", markdown_text(text)),
        Piece::Mark(text) => format!("<sub>{}</sub>", markdown_text(text)),
    };
    joined(document, "\n\n", write)
}

/// HTML without styles.
#[must_use]
pub fn html(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Lead(text) => format!("<p><b>{}</b></p>", xml(text)),
        Piece::Paragraph(text) => format!("<p>{}</p>", xml(text)),
        Piece::Rows(rows) => format!(
            "<ul>{}</ul>",
            each(rows, |(label, value)| format!(
                "<li><b>{label}:</b> {}</li>",
                xml(value)
            ))
        ),
        Piece::Code(label, text) => {
            format!("<p><b>{label}:</b> <code>{}</code></p>", xml(text))
        }
        Piece::Steps(label, list) | Piece::Lines(label, list) => format!(
            "<p><b>{label}</b></p><ul>{}</ul>",
            each(list, |line| format!("<li>{}</li>", xml(line)))
        ),
        Piece::Link(address) => {
            format!("<p><a href=\"{}\">{OPEN}</a></p>", xml(address))
        }
        Piece::Note(text) => format!("<p><i>{}</i></p>", xml(text)),
        Piece::Mark(text) => format!("<p><small>{}</small></p>", xml(text)),
    };
    joined(document, "", write)
}

/// The markup of Jira Data Center.
#[must_use]
pub fn wiki(document: &Document) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Lead(text) => format!("*{}*", wiki_text(text)),
        Piece::Paragraph(text) | Piece::Mark(text) => wiki_text(text),
        Piece::Note(text) => wiki_text(text),
        Piece::Rows(rows) => lines(rows, |(label, value)| {
            format!("* *{label}:* {}", wiki_text(value))
        }),
        // Nothing is markup inside, and nothing but the end of it ends it.
        Piece::Code(label, text) => format!(
            "*{label}:*\n{{noformat}}{}{{noformat}}",
            text.replace("{noformat}", "{ noformat }")
        ),
        Piece::Steps(label, list) | Piece::Lines(label, list) => format!(
            "*{label}*\n{}",
            lines(list, |line| format!("* {}", wiki_text(line)))
        ),
        Piece::Link(address) => format!("[{OPEN}|{}]", address.replace('|', "%7C")),
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
        Piece::Lead(text) => vec![paragraph(vec![strong(text)])],
        Piece::Paragraph(text) | Piece::Mark(text) => {
            vec![paragraph(vec![adf_text(text, json!([]))])]
        }
        Piece::Note(text) => vec![paragraph(vec![adf_text(text, json!([{ "type": "em" }]))])],
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
        Piece::Steps(label, list) | Piece::Lines(label, list) => vec![
            paragraph(vec![strong(label)]),
            items(
                list.iter()
                    .map(|line| vec![adf_text(line, json!([]))])
                    .collect(),
            ),
        ],
        Piece::Link(address) => vec![paragraph(vec![adf_text(
            OPEN,
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
            mark: "🔴",
            title: "A leak".to_owned(),
            pieces: vec![
                Piece::Paragraph("List<Order> *grew* @all #12".to_owned()),
                Piece::Rows(vec![("Where", "node_1".to_owned())]),
                Piece::Code("Owner", "A`b``c".to_owned()),
                Piece::Steps("What to do", vec!["Bound [it](x)".to_owned()]),
                Piece::Link("https://example.org/a|b".to_owned()),
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
        assert!(
            text.contains("\\*grew\\*")
                && text.contains("[Open the report|https://example.org/a%7Cb]")
        );
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
