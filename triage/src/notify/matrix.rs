//! A Matrix room, through the client-server API.
//!
//! The transaction id makes a send idempotent for one access token: the same id gives the same event. Mentions are
//! neutralized by an empty `m.mentions`, which turns off the old search for names in the text (Matrix 1.7), and by
//! breaking up `@room` for servers older than that.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{
    Attempt, Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat,
};
use super::http::{Http, LONGEST_WAIT, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;

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

impl Matrix {
    fn server(&self) -> Result<Address, ConfigError> {
        Address::parse(&self.homeserver).map_err(|problem| ConfigError::Value {
            key: "matrix.homeserver",
            problem: format!("the address {problem}"),
        })
    }

    fn token(&self) -> Result<SecretString, ConfigError> {
        self.token.read().map_err(|error| ConfigError::Secret {
            key: "matrix.token",
            error,
        })
    }
}

impl Destination for Matrix {
    fn kind(&self) -> &'static str {
        "matrix"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.server()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.server()?;
        self.token()?;
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
            let bearer = format!("Bearer {}", self.token()?.expose_secret());
            let request = Request {
                address: self.server()?.join(&path),
                method: Method::PUT,
                headers: vec![("authorization", bearer.into())],
                body: content(parcel.message, parcel.continues)
                    .to_string()
                    .into_bytes(),
                hidden: Vec::new(),
            };
            judge(&http.exchange(request, parcel.now).await?)
        })
    }
}

/// The content of the event, within the limit; in the thread of the event that it continues (client-server API, `m.thread`).
#[must_use]
pub fn content(message: &Message, continues: Option<&str>) -> Value {
    let mut message = message.clone();
    loop {
        let mut content = json!({
            "msgtype": "m.text",
            "body": quiet(&message.text()),
            "format": "org.matrix.custom.html",
            "formatted_body": html(&message),
            "m.mentions": {},
        });
        if let Some(root) = continues {
            content["m.relates_to"] = json!({
                "rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": { "event_id": root },
            });
        }
        if content.to_string().len() <= CONTENT_LIMIT_BYTES || !message.shed() {
            return content;
        }
    }
}

fn html(message: &Message) -> String {
    let mut html = format!(
        "<strong>{} {}</strong>",
        message.mark(),
        escape(&message.title())
    );
    match &message.cause {
        Some(cause) => {
            html.push_str(&format!("<br><strong>{}</strong>", escape(&cause.title)));
            let sentence = if cause.sentence.is_empty() {
                &message.headline
            } else {
                &cause.sentence
            };
            html.push_str(&format!("<br>{}", escape(sentence)));
        }
        None => html.push_str(&format!("<br>{}", escape(&message.headline))),
    }
    for (label, value) in message.rows() {
        html.push_str(&format!("<br><strong>{label}:</strong> {}", escape(&value)));
    }
    if let Some(owner) = message.owner() {
        html.push_str(&format!(
            "<br><strong>Owner:</strong> <code>{}</code>",
            escape(&owner)
        ));
    }
    let advice = message
        .cause
        .as_ref()
        .map(|cause| cause.advice.as_slice())
        .unwrap_or_default();
    for (label, lines) in [
        ("What to do", advice),
        ("Also found", message.further().as_slice()),
    ] {
        if !lines.is_empty() {
            html.push_str(&format!("<br><strong>{label}:</strong><ul>"));
            lines
                .iter()
                .for_each(|line| html.push_str(&format!("<li>{}</li>", escape(line))));
            html.push_str("</ul>");
        }
    }
    if let Some(link) = &message.context.link {
        html.push_str(&format!(
            "<p><a href=\"{}\">Open the report</a></p>",
            escape(link)
        ));
    }
    html
}

/// Breaks up the one word that pings everybody.
fn quiet(text: &str) -> String {
    text.replace("@room", "@\u{2060}room")
}

fn escape(text: &str) -> String {
    quiet(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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
    match (
        reply.failure_by_status(),
        answer.get("event_id").and_then(Value::as_str),
    ) {
        // The transaction id makes repeating harmless, so a lost answer is simply no success.
        (Some(failure), _) if failure.kind == FailureKind::Ambiguous => Err(Failure {
            kind: FailureKind::Retry(reply.retry_after()),
            ..failure
        }),
        (Some(failure), _) => Err(failure),
        (None, Some(event)) => {
            let id = Some(super::message::clean(event, 255));
            Ok(Receipt {
                proof: Proof::Confirmed,
                id,
                said,
            })
        }
        (None, None) => {
            let reason = format!(
                "a homeserver answers with an event id; this reply is from something else: {said}"
            );
            Err(reply.failure(FailureKind::Retry(None), reason))
        }
    }
}
