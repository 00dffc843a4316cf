//! PagerDuty, through the Events API v2.
//!
//! The deduplication key is the incident's: PagerDuty itself folds repeats into one, and closes it when the cause is over.

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use leakhound_rules::Severity;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Proof, Receipt, Repeat};
use super::document::plain;
use super::http::{Http, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;
use super::ticket::{Ticket, is_over};

/// PagerDuty takes 1,024 characters.
const SUMMARY_CHARS: usize = 1_000;
/// Bytes of the text in the details; the whole event may have 512 KB.
const TEXT_BYTES: usize = 30_000;

const KEY: &str = "pagerduty.routing_key";

/// `pagerduty = { routing_key = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pagerduty {
    /// Integration key of the service.
    pub routing_key: SecretSource,
    /// Where events go; another one for the European region.
    #[serde(default = "events")]
    pub url: String,
}

fn events() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl Destination for Pagerduty {
    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn tells_stories(&self) -> bool {
        true
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::given(&self.url, "pagerduty.url")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        self.routing_key.get(KEY)?;
        Ok(self.routing_key.warning(KEY).into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let routing_key = self.routing_key.get(KEY)?;
            let mut event = event(parcel.message, parcel.key);
            event["routing_key"] = routing_key.expose_secret().into();
            let mut request = Request::post(self.address()?, event.to_string().into_bytes());
            request.hidden.push(routing_key);
            judge(&http.exchange(request, parcel.now).await?)
        })
    }
}

/// The event, without its routing key.
#[must_use]
pub fn event(message: &Message, key: &str) -> Value {
    let ticket = Ticket::of(message, key);
    if is_over(message) {
        return json!({ "event_action": "resolve", "dedup_key": ticket.label });
    }
    let severity = match message.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let named = |text: &str, otherwise: &str| {
        if text.is_empty() {
            otherwise.to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": ticket.label,
        "client": "Leakhound",
        "payload": {
            "summary": ticket.title(SUMMARY_CHARS),
            "source": named(&message.context.node, "unknown node"),
            "severity": severity,
            "component": named(&message.context.service, "unnamed service"),
            "class": message.cause.as_ref().map_or("memory", |cause| cause.category.as_str()),
            "custom_details": { "text": ticket.text(TEXT_BYTES, plain) },
        },
    });
    if let Some(at) = message.context.at {
        event["payload"]["timestamp"] = at.to_string().into();
    }
    if let Some(link) = &message.context.link {
        event["links"] = json!([{ "href": link, "text": "Report" }]);
    }
    event
}

/// What a reply means: 202 and the key. The key makes repeating harmless, so a lost answer is simply no success.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    reply.success_by_key()?;
    Ok(Receipt {
        proof: Proof::Accepted,
        ..reply.confirmed(reply.json()?["dedup_key"].as_str())
    })
}
