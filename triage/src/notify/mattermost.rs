//! Mattermost, through an incoming webhook.

use serde_json::{Value, json};

use super::destination::{Failure, Parcel, Receipt};
use super::document::{Document, fitted, markdown, markdown_text};
use super::hook::{Chat, Hook};
use super::http::Reply;
use super::message::Message;
use super::ticket::Ticket;

/// Mattermost takes 16,383 characters in a post.
const TEXT_BYTES: usize = 14_000;

/// `mattermost = { webhook = { env = "…" } }`
pub type Mattermost = Hook<Form>;

/// What Mattermost takes.
#[derive(Debug)]
pub enum Form {}

impl Chat for Form {
    const KIND: &'static str = "mattermost";
    const KEY: &'static str = "mattermost.webhook";

    fn body(parcel: &Parcel<'_>) -> Value {
        payload(parcel.message, parcel.key, parcel.maybe_sent)
    }

    /// `ok`.
    fn judge(reply: &Reply) -> Result<Receipt, Failure> {
        match reply.failure_by_status() {
            Some(failure) => Err(failure),
            None if reply.body.trim() == "ok" => Ok(reply.confirmed(None)),
            None => Err(reply.stranger("Mattermost answers `ok`")),
        }
    }
}

/// The post. Names are escaped, and nobody is called.
#[must_use]
pub fn payload(message: &Message, key: &str, maybe_sent: bool) -> Value {
    let label = Ticket::of(message, key).label;
    let text = fitted(
        message,
        |message| {
            let document = Document::of(message, maybe_sent).marked(&label, key);
            let title = markdown_text(&document.title);
            format!("#### {} {title}\n\n{}", document.mark, markdown(&document))
        },
        |text| text.len() <= TEXT_BYTES,
    );
    json!({ "text": text, "props": { "disable_group_highlight": true } })
}
