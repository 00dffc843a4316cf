//! Microsoft Teams, through a Workflows webhook: an Adaptive Card 1.5 in the envelope of the stock templates.
//!
//! The posted message may have about 28 KB by the documentation and fails from about 21 KB in the field, so the card is
//! kept under 20 KB. Text of unknown origin goes into text runs, which know no markdown; mentions need an `entities`
//! list that we never send, so none can arise.

use serde_json::{Value, json};

use super::destination::{Failure, FailureKind, Parcel, Proof, Receipt};
use super::document::{Document, OPEN, Piece, fitted};
use super::hook::{Chat, Hook};
use super::http::Reply;
use super::message::Message;
use leakhound_rules::{Severity, Verdict};

/// Bytes of the whole body.
const BODY_LIMIT_BYTES: usize = 20_000;

/// `teams = { webhook = { env = "…" } }`; the address carries its signature.
pub type Teams = Hook<Form>;

/// What a Teams workflow takes.
#[derive(Debug)]
pub enum Form {}

impl Chat for Form {
    const KIND: &'static str = "teams";
    const KEY: &'static str = "teams.webhook";

    fn body(parcel: &Parcel<'_>) -> Value {
        payload(parcel.message, parcel.maybe_sent)
    }

    fn judge(reply: &Reply) -> Result<Receipt, Failure> {
        judge(reply)
    }
}

/// The message as the workflow takes it, within the limit.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    let envelope = |message: &Message| {
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card(message, maybe_sent),
            }],
        })
    };
    fitted(message, envelope, |envelope| {
        envelope.to_string().len() <= BODY_LIMIT_BYTES
    })
}

/// The Adaptive Card alone. Nothing newer than 1.5, and no action but opening an address: others need a bot.
#[must_use]
pub fn card(message: &Message, maybe_sent: bool) -> Value {
    let color = match (message.verdict, message.severity) {
        (Verdict::Healthy | Verdict::NotALeak, _) => "Good",
        (_, Severity::Critical) => "Attention",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Info) => "Accent",
    };
    let document = Document::of(message, maybe_sent);
    let mut body = vec![rich(vec![json!({
        "type": "TextRun", "text": document.heading(), "weight": "Bolder", "size": "Large", "color": color,
    })])];
    let mut actions = Vec::new();
    for piece in &document.pieces {
        match piece {
            Piece::Lead(text) => body.push(rich(vec![bold(text)])),
            Piece::Paragraph(text) => body.push(tight(rich(vec![run(text)]))),
            Piece::Rows(rows) => {
                let row = |(label, value): &(&str, String)| {
                    tight(rich(vec![bold(&format!("{label}  ")), run(value)]))
                };
                body.push(container(rows.iter().map(row).collect()));
            }
            Piece::Code(label, text) => {
                let label = bold(&format!("{label}  "));
                body.push(tight(rich(vec![label, code(text)])));
            }
            Piece::Steps(label, lines) => body.push(group(label, "• ", lines)),
            Piece::Lines(label, lines) => body.push(group(label, "", lines)),
            Piece::Note(text) => body.push(rich(vec![subtle(text)])),
            Piece::Link(address) => {
                actions.push(json!({ "type": "Action.OpenUrl", "title": OPEN, "url": address }));
            }
            Piece::Mark(_) => {}
        }
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "fallbackText": document.title,
        "msteams": { "width": "Full" },
        "body": body,
    });
    if !actions.is_empty() {
        card["actions"] = actions.into();
    }
    card
}

fn group(label: &str, bullet: &str, lines: &[String]) -> Value {
    let mut items = vec![rich(vec![bold(label)])];
    let line = |line: &String| tight(rich(vec![run(&format!("{bullet}{line}"))]));
    items.extend(lines.iter().map(line));
    container(items)
}

fn container(items: Vec<Value>) -> Value {
    json!({ "type": "Container", "spacing": "Medium", "separator": true, "items": items })
}

fn rich(inlines: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": inlines })
}

fn tight(mut element: Value) -> Value {
    element["spacing"] = "Small".into();
    element
}

fn run(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text })
}

fn bold(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "weight": "Bolder" })
}

fn code(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "fontType": "Monospace" })
}

fn subtle(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "isSubtle": true, "size": "Small" })
}

/// What a reply means. 202 says that the flow was started and not that anything was posted: whether it was is to be
/// seen in the flow's run history only. Addresses of the retired connectors answer 200 with an error in the body.
fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    if let Some(failure) = reply.failure_by_status() {
        return Err(failure);
    }
    let said = reply.said();
    let id = reply
        .header("x-ms-workflow-run-id")
        .map(|id| super::message::clean(id, 100));
    let body = reply.body.trim();
    let accepted = Receipt {
        proof: Proof::Accepted,
        id,
        said: said.clone(),
    };
    if body.is_empty() {
        return Ok(accepted);
    }
    if body == "1" {
        return Ok(Receipt {
            proof: Proof::Confirmed,
            ..accepted
        });
    }
    if let Some(status) = inner_status(body) {
        let kind = match status {
            408 | 425 | 429 | 500..=599 => FailureKind::Retry(reply.retry_after()),
            _ => FailureKind::Permanent,
        };
        return Err(reply.failure(
            kind,
            format!("answered {} and means {status}: {said}", reply.status),
        ));
    }
    if let Some(code) = error_code(body) {
        let busy = [
            "throttl",
            "toomany",
            "timeout",
            "unavailable",
            "internal",
            "serverbusy",
        ];
        let kind = if busy
            .iter()
            .any(|word| code.to_ascii_lowercase().contains(word))
        {
            FailureKind::Retry(reply.retry_after())
        } else {
            FailureKind::Permanent
        };
        return Err(reply.failure(
            kind,
            format!("answered {} with an error inside: {said}", reply.status),
        ));
    }
    let lower = body.to_ascii_lowercase();
    if ["failed", "error", "too large", "bad payload", "invalid"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return Err(reply.failure(
            FailureKind::Permanent,
            format!("answered {} and a complaint: {said}", reply.status),
        ));
    }
    if lower.starts_with("<!doctype") || lower.starts_with("<html") {
        let reason = format!("a web page answered in place of the workflow: {said}");
        return Err(reply.failure(FailureKind::Retry(None), reason));
    }
    // A flow may end with a response of its own making.
    Ok(accepted)
}

/// `Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId …`
fn inner_status(body: &str) -> Option<u16> {
    let (_, rest) = body.split_once("HTTP error ")?;
    rest.get(..3)?
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status))
}

/// `{"error":{"code":"…","message":"…"}}`, as Power Automate answers.
fn error_code(body: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(body).ok()?;
    let error = answer.get("error")?;
    Some(
        error
            .get("code")
            .or(Some(error))
            .and_then(Value::as_str)
            .unwrap_or("unnamed")
            .to_owned(),
    )
}
