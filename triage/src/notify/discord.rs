//! A Discord channel, through a webhook.
//!
//! `allowed_mentions` without any keeps names in a heap from calling anybody. Limits (Discord's reference): title 256, description
//! 4,096, 25 fields of 256 and 1,024, 6,000 characters over all.

use serde_json::{Value, json};
use std::time::Duration;

use leakhound_rules::Severity;

use super::destination::{Failure, FailureKind, Parcel, Receipt};
use super::document::{Document, Piece, fitted, markdown_code, markdown_text, truncate};
use super::hook::{Chat, Hook};
use super::http::{LONGEST_WAIT, Reply};
use super::message::Message;

const TITLE_CHARS: usize = 256;
const DESCRIPTION_CHARS: usize = 4_096;
const FIELD_CHARS: usize = 1_024;
/// Over all parts of the embed; Discord takes 6,000.
const TOTAL_CHARS: usize = 5_500;

/// `discord = { webhook = { env = "…" } }`
pub type Discord = Hook<Form>;

/// What Discord takes.
#[derive(Debug)]
pub enum Form {}

impl Chat for Form {
    const KIND: &'static str = "discord";
    const KEY: &'static str = "discord.webhook";

    /// Without it the answer is empty and says nothing about the message.
    fn query<'a>(_: &Parcel<'a>) -> Vec<(&'static str, &'a str)> {
        vec![("wait", "true")]
    }

    fn body(parcel: &Parcel<'_>) -> Value {
        payload(parcel.message, parcel.maybe_sent)
    }

    /// The message with its id; 429 says in its body how many seconds to wait.
    fn judge(reply: &Reply) -> Result<Receipt, Failure> {
        if reply.status == 429 {
            let seconds = reply
                .json()
                .ok()
                .and_then(|answer| answer["retry_after"].as_f64())
                .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
            let wait = seconds
                .map(|seconds| Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64())))
                .or_else(|| reply.retry_after());
            let reason = format!("asked to come back later: {}", reply.said());
            return Err(reply.failure(FailureKind::Retry(wait), reason));
        }
        match reply.failure_by_status() {
            Some(failure) => Err(failure),
            None => Ok(reply.confirmed(reply.json()?["id"].as_str())),
        }
    }
}

/// The message, within Discord's limits.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    let embed = fitted(message, |message| embed(message, maybe_sent), fits);
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

fn embed(message: &Message, maybe_sent: bool) -> Value {
    let color = match message.severity {
        Severity::Critical => 0xC0_39_2B,
        Severity::Warning => 0xE6_7E_22,
        Severity::Info => 0x34_98_DB,
    };
    let document = Document::of(message, maybe_sent);
    let title = format!("{} {}", document.mark, markdown_text(&document.title));
    let mut embed = json!({ "title": truncate(&title, TITLE_CHARS), "color": color });
    let mut lines = Vec::new();
    let mut notes = Vec::new();
    for piece in &document.pieces {
        match piece {
            Piece::Lead(text) => lines.push(format!("**{}**", markdown_text(text))),
            Piece::Paragraph(text) => lines.push(markdown_text(text)),
            Piece::Rows(rows) => {
                let field = |(label, value): &(&str, String)| json!({ "name": label, "value": markdown_text(value), "inline": true });
                embed["fields"] = rows.iter().map(field).collect();
            }
            Piece::Code(label, text) => lines.push(format!("**{label}:** {}", markdown_code(text))),
            Piece::Steps(label, list) => {
                lines.push(format!("**{label}**"));
                lines.extend(list.iter().map(|line| format!("• {}", markdown_text(line))));
            }
            Piece::Lines(label, list) => {
                lines.push(format!("**{label}**"));
                lines.extend(list.iter().map(|line| markdown_text(line)));
            }
            Piece::Link(address) => embed["url"] = address.as_str().into(),
            Piece::Note(text) => notes.push(*text),
            Piece::Mark(_) => {}
        }
    }
    embed["description"] = lines.join("\n").into();
    if !notes.is_empty() {
        embed["footer"] = json!({ "text": notes.join(" ") });
    }
    embed
}

fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn fits(embed: &Value) -> bool {
    let fields = embed["fields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let in_fields: usize = fields
        .iter()
        .map(|f| chars(&f["name"]) + chars(&f["value"]))
        .sum();
    chars(&embed["description"]) <= DESCRIPTION_CHARS
        && fields.iter().all(|f| chars(&f["value"]) <= FIELD_CHARS)
        && chars(&embed["title"]) + chars(&embed["description"]) + in_fields <= TOTAL_CHARS
}
