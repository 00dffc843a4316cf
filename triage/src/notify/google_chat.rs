//! A Google Chat space, through an incoming webhook.
//!
//! `requestId` makes a repeat harmless, and a thread key keeps the messages of one incident together.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{
    Attempt, Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat,
};
use super::http::{Http, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;
use super::ticket::Ticket;
use super::ticket::document::html_text;

/// Google Chat takes 32,000 bytes of a message.
const MESSAGE_BYTES: usize = 28_000;

/// `google_chat = { webhook = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleChat {
    /// Address of the webhook, with its key and token; it is a secret as a whole.
    pub webhook: SecretSource,
}

impl Destination for GoogleChat {
    fn kind(&self) -> &'static str {
        "google_chat"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, "google_chat.webhook")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        let warning = self.webhook.warning("google_chat.webhook");
        Ok(warning.into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let address = self.address()?.with_query(&[
                ("requestId", parcel.key),
                ("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"),
            ]);
            let body = payload(parcel.message, parcel.key).to_string().into_bytes();
            judge(
                &http
                    .exchange(Request::post(address, body), parcel.now)
                    .await?,
            )
        })
    }
}

/// The message with its card, within the limit.
#[must_use]
pub fn payload(message: &Message, key: &str) -> Value {
    let mut message = message.clone();
    loop {
        let body = body(&message, key);
        if body.to_string().len() <= MESSAGE_BYTES || !message.shed() {
            return body;
        }
    }
}

fn body(message: &Message, key: &str) -> Value {
    let paragraph = |html: String| json!({ "textParagraph": { "text": html } });
    let mut widgets = vec![paragraph(html_text(&message.headline))];
    if let Some(cause) = &message.cause {
        widgets.push(paragraph(format!(
            "<b>{}</b><br>{}",
            html_text(&cause.title),
            html_text(&cause.sentence)
        )));
    }
    widgets.extend(message.rows().iter().map(
        |(label, value)| json!({ "decoratedText": { "topLabel": label, "text": html_text(value), "wrapText": true } }),
    ));
    widgets.extend(
        message
            .owner()
            .map(|owner| paragraph(format!("<b>Owner</b><br>{}", html_text(&owner)))),
    );
    let advice = message.cause.as_ref().map(|cause| cause.advice.clone());
    for (label, lines) in [
        ("What to do", advice.unwrap_or_default()),
        ("Also found", message.further()),
    ] {
        if !lines.is_empty() {
            let lines: Vec<String> = lines
                .iter()
                .map(|line| format!("• {}", html_text(line)))
                .collect();
            widgets.push(paragraph(format!(
                "<b>{label}</b><br>{}",
                lines.join("<br>")
            )));
        }
    }
    if let Some(link) = &message.context.link {
        let open = json!({ "openLink": { "url": link } });
        widgets.push(json!({ "buttonList": { "buttons": [{ "text": "Open the report", "onClick": open }] } }));
    }
    let title = format!("{} {}", message.mark(), message.title());
    let label = Ticket::of(message, key).label;
    json!({
        "cardsV2": [{
            "cardId": label,
            "card": { "header": { "title": title }, "sections": [{ "widgets": widgets }] },
        }],
        "fallbackText": title,
        "thread": { "threadKey": label },
    })
}

/// What a reply means: the message's name. The request id makes repeating harmless.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    match reply.failure_by_status() {
        Some(failure) if failure.kind == FailureKind::Ambiguous => Err(Failure {
            kind: FailureKind::Retry(reply.retry_after()),
            ..failure
        }),
        Some(failure) => Err(failure),
        None => Ok(Receipt {
            proof: Proof::Confirmed,
            id: reply.json()?["name"]
                .as_str()
                .map(|name| super::message::clean(name, 255)),
            said: reply.said(),
        }),
    }
}
