//! A Matrix room, through the client-server API.
//!
//! The transaction id makes a send idempotent for one access token: the same id gives the same event. Mentions are
//! neutralized by an empty `m.mentions`, which turns off the old search for names in the text (Matrix 1.7), and by
//! breaking up `@room` for servers older than that.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use reqwest::Method;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, FailureKind, Parcel, Receipt, Repeat};
use super::document::{Document, fitted, html};
use super::http::{Http, LONGEST_WAIT, Reply, Request};
use super::message::Message;
use super::secret::{SecretSource, bearer};
use crate::report::clean::xml;

/// Bytes of the content; a whole event may have 64 KB.
const CONTENT_LIMIT_BYTES: usize = 32_000;

/// `matrix = { homeserver = "https://…", room = "!…", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Base address of the homeserver.
    pub homeserver: String,
    /// Room id, which begins with `!`.
    pub room: String,
    /// Access token of the account that posts; it must have joined the room.
    pub token: SecretSource,
}

impl Destination for Matrix {
    fn kind(&self) -> &'static str {
        "matrix"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::given(&self.homeserver, "matrix.homeserver")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        self.token.get("matrix.token")?;
        if !self.room.starts_with('!') || self.room.len() > 255 {
            let problem = "expected a room id such as `!abc:example.org` (room settings, advanced), not a name".into();
            return Err(ConfigError::Value {
                key: "matrix.room",
                problem,
            });
        }
        Ok(self.token.warning("matrix.token").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let path = [
                "_matrix",
                "client",
                "v3",
                "rooms",
                self.room.as_str(),
                "send",
                "m.room.message",
                parcel.key,
            ];
            let content = content(parcel.message, parcel.continues);
            let request = Request {
                method: Method::PUT,
                headers: vec![("authorization", bearer(&self.token.get("matrix.token")?))],
                ..Request::post(
                    self.address()?.join(&path),
                    content.to_string().into_bytes(),
                )
            };
            judge(&http.exchange(request, parcel.now).await?)
        })
    }
}

/// The content of the event, within the limit; in the thread of the event that it continues (client-server API, `m.thread`).
#[must_use]
pub fn content(message: &Message, continues: Option<&str>) -> Value {
    let content = |message: &Message| {
        let document = Document::of(message, false);
        let title = xml(&document.heading());
        let formatted = format!("<strong>{title}</strong>{}", html(&document));
        let mut content = json!({
            "msgtype": "m.text",
            "body": quiet(&message.text()),
            "format": "org.matrix.custom.html",
            "formatted_body": quiet(&formatted),
            "m.mentions": {},
        });
        if let Some(root) = continues {
            content["m.relates_to"] = json!({
                "rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": { "event_id": root },
            });
        }
        content
    };
    fitted(message, content, |content| {
        content.to_string().len() <= CONTENT_LIMIT_BYTES
    })
}

/// Breaks up the one word that pings everybody.
fn quiet(text: &str) -> String {
    text.replace("@room", "@\u{2060}room")
}

/// What a reply means.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or(Value::Null);
    let said = reply.said();
    let code = answer
        .get("errcode")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if code == "M_LIMIT_EXCEEDED" {
        let ms = answer.get("retry_after_ms").and_then(Value::as_u64);
        let after = reply
            .retry_after()
            .or(ms.map(Duration::from_millis))
            .map(|wait| wait.min(LONGEST_WAIT));
        return Err(reply.failure(
            FailureKind::Retry(after),
            format!("asked to come back later: {said}"),
        ));
    }
    // The transaction id makes repeating harmless.
    reply.success_by_key()?;
    match answer["event_id"].as_str() {
        Some(event) => Ok(reply.confirmed(Some(event))),
        None => Err(reply.stranger("a homeserver answers with an event id")),
    }
}
