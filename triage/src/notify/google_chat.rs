//! A Google Chat space, through an incoming webhook.
//!
//! `requestId` makes a repeat harmless, and a thread key keeps the messages of one incident together.

use serde_json::{Value, json};

use super::destination::{Failure, Parcel, Receipt, Repeat};
use super::document::{Document, OPEN, Piece, fitted};
use super::hook::{Chat, Hook};
use super::http::Reply;
use super::message::Message;
use super::ticket::Ticket;
use crate::report::clean::xml;

/// Google Chat takes 32,000 bytes of a message.
const MESSAGE_BYTES: usize = 28_000;

/// `google_chat = { webhook = { env = "…" } }`; the address bears a key and a token.
pub type GoogleChat = Hook<Form>;

/// What Google Chat takes.
#[derive(Debug)]
pub enum Form {}

impl Chat for Form {
    const KIND: &'static str = "google_chat";
    const KEY: &'static str = "google_chat.webhook";
    const REPEAT: Repeat = Repeat::Harmless;

    fn query<'a>(parcel: &Parcel<'a>) -> Vec<(&'static str, &'a str)> {
        vec![
            ("requestId", parcel.key),
            ("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"),
        ]
    }

    fn body(parcel: &Parcel<'_>) -> Value {
        payload(parcel.message, parcel.key)
    }

    /// The message's name.
    fn judge(reply: &Reply) -> Result<Receipt, Failure> {
        reply.success_by_key()?;
        Ok(reply.confirmed(reply.json()?["name"].as_str()))
    }
}

/// The message with its card, within the limit.
#[must_use]
pub fn payload(message: &Message, key: &str) -> Value {
    fitted(
        message,
        |message| body(message, key),
        |body| body.to_string().len() <= MESSAGE_BYTES,
    )
}

fn body(message: &Message, key: &str) -> Value {
    let document = Document::of(message, false);
    let label = Ticket::of(message, key).label;
    let widgets: Vec<Value> = document.pieces.iter().flat_map(widgets).collect();
    json!({
        "cardsV2": [{
            "cardId": label,
            "card": { "header": { "title": document.heading() }, "sections": [{ "widgets": widgets }] },
        }],
        "fallbackText": document.heading(),
        "thread": { "threadKey": label },
    })
}

fn widgets(piece: &Piece) -> Vec<Value> {
    let paragraph = |html: String| vec![json!({ "textParagraph": { "text": html } })];
    let list = |label: &str, bullet: &str, lines: &[String]| {
        let lines: Vec<String> = lines
            .iter()
            .map(|line| format!("{bullet}{}", xml(line)))
            .collect();
        paragraph(format!("<b>{label}</b><br>{}", lines.join("<br>")))
    };
    match piece {
        Piece::Lead(text) => paragraph(format!("<b>{}</b>", xml(text))),
        Piece::Paragraph(text) => paragraph(xml(text)),
        Piece::Note(text) => paragraph(format!("<i>{}</i>", xml(text))),
        Piece::Code(label, text) => paragraph(format!("<b>{label}</b><br>{}", xml(text))),
        Piece::Steps(label, lines) => list(label, "• ", lines),
        Piece::Lines(label, lines) => list(label, "", lines),
        Piece::Rows(rows) => rows
            .iter()
            .map(|(label, value)| json!({ "decoratedText": { "topLabel": label, "text": xml(value), "wrapText": true } }))
            .collect(),
        Piece::Link(address) => {
            let open = json!({ "openLink": { "url": address } });
            vec![json!({ "buttonList": { "buttons": [{ "text": OPEN, "onClick": open }] } })]
        }
        Piece::Mark(_) => Vec::new(),
    }
}
