//! A Discord channel, through a webhook.
//!
//! `allowed_mentions` without any keeps names in a heap from calling anybody. Limits (Discord's reference): title 256, description
//! 4,096, 25 fields of 256 and 1,024, 6,000 characters over all.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use leakhound_rules::Severity;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{
    Attempt, Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat,
};
use super::http::{Http, LONGEST_WAIT, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;
use super::ticket::document::{markdown_code, markdown_text};

const TITLE_CHARS: usize = 256;
const DESCRIPTION_CHARS: usize = 4_096;
const FIELD_CHARS: usize = 1_024;
/// Over all parts of the embed; Discord takes 6,000.
const TOTAL_CHARS: usize = 5_500;

/// `discord = { webhook = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discord {
    /// Address of the webhook; it is a secret as a whole.
    pub webhook: SecretSource,
}

impl Destination for Discord {
    fn kind(&self) -> &'static str {
        "discord"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Visible
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, "discord.webhook")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        let warning = self.webhook.warning("discord.webhook");
        Ok(warning.into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            // Without it the answer is empty and says nothing about the message.
            let address = self.address()?.with_query(&[("wait", "true")]);
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

/// The message, within Discord's limits.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    let mut message = message.clone();
    loop {
        let embed = embed(&message, maybe_sent);
        if fits(&embed) || !message.shed() {
            return json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } });
        }
    }
}

fn embed(message: &Message, maybe_sent: bool) -> Value {
    let mut lead = vec![markdown_text(&message.headline)];
    if let Some(cause) = &message.cause {
        lead.push(format!("**{}**", markdown_text(&cause.title)));
        lead.push(markdown_text(&cause.sentence));
    }
    lead.extend(
        message
            .owner()
            .map(|owner| format!("Owner: {}", markdown_code(&owner))),
    );
    let advice = message.cause.as_ref().map(|cause| cause.advice.clone());
    for (label, lines) in [
        ("What to do", advice.unwrap_or_default()),
        ("Also found", message.further()),
    ] {
        if !lines.is_empty() {
            lead.push(format!("**{label}**"));
            lead.extend(
                lines
                    .iter()
                    .map(|line| format!("• {}", markdown_text(line))),
            );
        }
    }
    lead.retain(|line| !line.is_empty());
    let fields: Vec<Value> = message
        .rows()
        .iter()
        .map(|(label, value)| json!({ "name": label, "value": markdown_text(value), "inline": true }))
        .collect();
    let color = match message.severity {
        Severity::Critical => 0xC0_39_2B,
        Severity::Warning => 0xE6_7E_22,
        Severity::Info => 0x34_98_DB,
    };
    let mut embed = json!({
        "title": truncate(
            &format!("{} {}", message.mark(), markdown_text(&message.title())),
            TITLE_CHARS,
        ),
        "description": lead.join("\n"),
        "color": color,
        "fields": fields,
    });
    if let Some(link) = &message.context.link {
        embed["url"] = link.as_str().into();
    }
    if maybe_sent {
        let text = "Sent again: the first attempt ended without an answer.";
        embed["footer"] = json!({ "text": text });
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

fn truncate(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some(_) => text.chars().take(chars - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// What a reply means: the message with its id; 429 says in its body how many seconds to wait.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
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
        None => Ok(Receipt {
            proof: Proof::Confirmed,
            id: reply.json()?["id"]
                .as_str()
                .map(|id| super::message::clean(id, 64)),
            said: reply.said(),
        }),
    }
}
