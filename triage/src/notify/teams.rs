//! Microsoft Teams, through a Workflows webhook: an Adaptive Card 1.5 in the envelope of the stock templates.
//!
//! The posted message may have about 28 KB by the documentation and fails from about 21 KB in the field, so the card is
//! kept under 20 KB. Text of unknown origin goes into text runs, which know no markdown; mentions need an `entities`
//! list that we never send, so none can arise.

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
use leakhound_rules::{Severity, Verdict};

/// Bytes of the whole body.
const BODY_LIMIT_BYTES: usize = 20_000;

/// `teams = { webhook = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teams {
    /// Address of the workflow; it carries its signature and is a secret as a whole.
    pub webhook: SecretSource,
}

impl Destination for Teams {
    fn kind(&self) -> &'static str {
        "teams"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Visible
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, "teams.webhook")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        Address::read(&self.webhook, "teams.webhook")?;
        Ok(self.webhook.warning("teams.webhook").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let address = Address::read(&self.webhook, "teams.webhook")?;
            let body = payload(parcel.message, parcel.maybe_sent)
                .to_string()
                .into_bytes();
            judge(
                &http
                    .exchange(Request::post(address, body), parcel.now)
                    .await?,
            )
        })
    }
}

/// The message as the workflow takes it, within the limit.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    let mut message = message.clone();
    loop {
        let envelope = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card(&message, maybe_sent),
            }],
        });
        if envelope.to_string().len() <= BODY_LIMIT_BYTES || !message.shed() {
            return envelope;
        }
    }
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
    let title = format!("{} {}", message.mark(), message.title());
    let mut body = vec![rich(vec![json!({
        "type": "TextRun", "text": title, "weight": "Bolder", "size": "Large", "color": color,
    })])];
    match &message.cause {
        Some(cause) => {
            body.push(rich(vec![bold(&cause.title)]));
            let sentence = if cause.sentence.is_empty() {
                &message.headline
            } else {
                &cause.sentence
            };
            body.push(rich(vec![run(sentence)]));
        }
        None => body.push(rich(vec![run(&message.headline)])),
    }
    let mut rows: Vec<Value> = message
        .rows()
        .iter()
        .map(|(label, value)| tight(rich(vec![bold(&format!("{label}  ")), run(value)])))
        .collect();
    if let Some(owner) = message.owner() {
        rows.push(tight(rich(vec![bold("Owner  "), code(&owner)])));
    }
    body.push(
        json!({ "type": "Container", "spacing": "Medium", "separator": true, "items": rows }),
    );
    let advice = message
        .cause
        .as_ref()
        .map(|cause| cause.advice.as_slice())
        .unwrap_or_default();
    if !advice.is_empty() {
        let steps: Vec<String> = advice.iter().map(|step| format!("• {step}")).collect();
        body.push(group("What to do", &steps));
    }
    let further = message.further();
    if !further.is_empty() {
        body.push(group("Also found", &further));
    }
    if message.sample {
        body.push(rich(vec![subtle(
            "Sample sent by `leakhound notify test`: there is no incident.",
        )]));
    }
    if maybe_sent {
        body.push(rich(vec![subtle(
            "Sent again: the first attempt ended without an answer.",
        )]));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "fallbackText": message.title(),
        "msteams": { "width": "Full" },
        "body": body,
    });
    if let Some(link) = &message.context.link {
        card["actions"] =
            json!([{ "type": "Action.OpenUrl", "title": "Open the report", "url": link }]);
    }
    card
}

fn group(label: &str, lines: &[String]) -> Value {
    let mut items = vec![rich(vec![bold(label)])];
    items.extend(lines.iter().map(|line| tight(rich(vec![run(line)]))));
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
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
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
