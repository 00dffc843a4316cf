//! Mattermost, through an incoming webhook.

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
use super::ticket::document::markdown;

/// Mattermost takes 16,383 characters in a post.
const TEXT_BYTES: usize = 14_000;

/// `mattermost = { webhook = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mattermost {
    /// Address of the incoming webhook; it is a secret as a whole.
    pub webhook: SecretSource,
}

impl Destination for Mattermost {
    fn kind(&self) -> &'static str {
        "mattermost"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Visible
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, "mattermost.webhook")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        let warning = self.webhook.warning("mattermost.webhook");
        Ok(warning.into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let body = payload(parcel.message, parcel.key, parcel.maybe_sent);
            let request = Request::post(self.address()?, body.to_string().into_bytes());
            judge(&http.exchange(request, parcel.now).await?)
        })
    }
}

/// The post. Names are escaped, and nobody is called.
#[must_use]
pub fn payload(message: &Message, key: &str, maybe_sent: bool) -> Value {
    let ticket = Ticket::of(message, key);
    let mut text = format!(
        "#### {} {}\n\n{}",
        message.mark(),
        super::ticket::document::markdown_text(&message.title()),
        ticket.text(TEXT_BYTES, markdown)
    );
    if maybe_sent {
        text.push_str("\n\n*Sent again: the first attempt ended without an answer.*");
    }
    json!({ "text": text, "props": { "disable_group_highlight": true } })
}

/// What a reply means: `ok`.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    match reply.failure_by_status() {
        Some(failure) => Err(failure),
        None if reply.body.trim() == "ok" => Ok(Receipt {
            proof: Proof::Confirmed,
            id: None,
            said: reply.said(),
        }),
        None => {
            let reason = format!(
                "Mattermost answers `ok`; this reply is from something else: {}",
                reply.said()
            );
            Err(reply.failure(FailureKind::Retry(None), reason))
        }
    }
}
