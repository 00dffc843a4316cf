//! Slack's Block Kit: how a message looks in Slack, whichever way it goes there.
//!
//! Limits (Slack's reference, and bolt-js issue 2509 for the undocumented total): 50 blocks, 150 characters in a header,
//! 3000 in a section, 10 fields of 2000, and about 13 200 over all blocks, where `msg_blocks_too_long` begins. We stop
//! well before.

use serde_json::{Value, json};

use super::document::{Document, OPEN, Piece, fitted, truncate};
use super::message::Message;

/// Characters over all blocks, escapes counted.
const TOTAL_CHARS: usize = 9_000;
const HEADER_CHARS: usize = 150;
const SECTION_CHARS: usize = 3_000;
const FIELD_CHARS: usize = 2_000;

/// The message as Slack takes it, within Slack's limits.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    fitted(
        message,
        |message| {
            let text = format!("{}: {}", message.title(), message.headline);
            json!({
                "text": escape(&text),
                "blocks": blocks(&Document::of(message, maybe_sent)),
                "unfurl_links": false,
                "unfurl_media": false,
            })
        },
        |payload| {
            let blocks = payload["blocks"].as_array().into_iter().flatten();
            let total: usize = blocks.clone().map(|b| b.to_string().chars().count()).sum();
            blocks.clone().all(fits) && total <= TOTAL_CHARS
        },
    )
}

fn blocks(document: &Document) -> Vec<Value> {
    let title = truncate(&document.heading(), HEADER_CHARS);
    let mut blocks = vec![json!({ "type": "header", "text": plain(&title) })];
    let mut lead: Vec<String> = Vec::new();
    let mut notes = Vec::new();
    for piece in &document.pieces {
        let block = match piece {
            Piece::Lead(text) => {
                lead.push(format!("*{}*", escape(text)));
                continue;
            }
            Piece::Paragraph(text) => {
                lead.push(escape(text));
                continue;
            }
            Piece::Note(text) => {
                notes.push(*text);
                continue;
            }
            Piece::Rows(rows) => {
                let field = |(label, value): &(&str, String)| {
                    mrkdwn(&format!("*{label}*\n{}", escape(value)))
                };
                let fields: Vec<Value> = rows.iter().map(field).collect();
                json!({ "type": "section", "fields": fields })
            }
            Piece::Code(label, text) => section(&format!("*{label}*\n{}", code(text))),
            Piece::Steps(label, lines) => section(&list(label, "• ", lines)),
            Piece::Lines(label, lines) => section(&list(label, "", lines)),
            Piece::Link(address) => {
                let address = escape_address(address);
                section(&format!("*<{address}|{OPEN}>*"))
            }
            Piece::Mark(_) => continue,
        };
        blocks.extend(paragraphs(&mut lead));
        blocks.push(block);
    }
    blocks.extend(paragraphs(&mut lead));
    if !notes.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [plain(&notes.join(" "))] }));
    }
    blocks
}

/// What was said one after the other stands in one section.
fn paragraphs(lead: &mut Vec<String>) -> Option<Value> {
    let text = std::mem::take(lead).join("\n");
    (!text.is_empty()).then(|| section(&text))
}

fn list(label: &str, bullet: &str, lines: &[String]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{bullet}{}", escape(line)))
        .collect();
    format!("*{label}*\n{}", lines.join("\n"))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim` keeps Slack from finding channels, users and links in what is only text.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": true })
}

/// The three characters that Slack escapes. Mentions (`<!channel>`, `<@U1>`) are made of them, so none survives; the
/// marks of bold, italics, strike and code get an invisible word joiner, or `s_cache_` would turn italic.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' | '_' | '~' | '`' => escaped.extend(['\u{2060}', c]),
            '@' => escaped.extend([c, '\u{2060}']),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// An address keeps every character but the three, and the one that would end it.
fn escape_address(address: &str) -> String {
    let address = address.replace('&', "&amp;").replace('|', "%7C");
    address.replace('<', "%3C").replace('>', "%3E")
}

/// Names as code: besides the three characters and mentions nothing is special there, and a backtick would end it.
fn code(text: &str) -> String {
    let mut code = String::from("`");
    for c in text.chars() {
        match c {
            '&' => code.push_str("&amp;"),
            '<' => code.push_str("&lt;"),
            '>' => code.push_str("&gt;"),
            '@' => code.extend([c, '\u{2060}']),
            '`' => code.push('\''),
            _ => code.push(c),
        }
    }
    code.push('`');
    code
}

fn fits(block: &Value) -> bool {
    let chars = |text: &Value| text["text"].as_str().map_or(0, |text| text.chars().count());
    let fields = block["fields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    chars(&block["text"]) <= SECTION_CHARS
        && fields.len() <= 10
        && fields.iter().all(|f| chars(f) <= FIELD_CHARS)
}
