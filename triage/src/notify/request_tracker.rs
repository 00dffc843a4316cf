//! Request Tracker 5, through REST 2.0.
//!
//! RT has no labels by default: the label stands in the subject, and the search is over subjects. A comment bears its key in its
//! own subject, which the list of attachments gives.

use jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request, json_body};
use super::secret::SecretSource;
use super::ticket::document::html;
use super::ticket::{self, Ticket, Tracker};

/// RT takes 200 characters of a subject; the label needs some of them.
const SUBJECT_CHARS: usize = 160;
const TEXT_BYTES: usize = 30_000;

/// `request_tracker = { site = "https://…", queue = "Shop", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTracker {
    /// Base address, to which `/REST/2.0` is added.
    pub site: String,
    /// Name of the queue.
    pub queue: String,
    /// Authentication token, or `user:password`.
    pub token: SecretSource,
}

impl RequestTracker {
    fn server(&self) -> Result<Address, ConfigError> {
        Address::parse(&self.site).map_err(|problem| ConfigError::Value {
            key: "request_tracker.site",
            problem: format!("the address {problem}"),
        })
    }

    fn token(&self) -> Result<SecretString, ConfigError> {
        self.token.read().map_err(|error| ConfigError::Secret {
            key: "request_tracker.token",
            error,
        })
    }

    fn authorization(&self) -> Result<SecretString, ConfigError> {
        use base64::Engine as _;
        let token = self.token()?;
        let token = token.expose_secret();
        // Tokens are digits and dashes; a colon is that of a password.
        Ok(match token.contains(':') {
            true => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(token);
                format!("Basic {encoded}")
            }
            false => format!("token {token}"),
        }
        .into())
    }

    async fn ask(
        &self,
        http: &Http,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
        now: Timestamp,
    ) -> Result<Reply, Failure> {
        let segments: Vec<&str> = ["REST", "2.0"].iter().chain(path).copied().collect();
        let request = Request {
            address: self.server()?.join(&segments).with_query(query),
            method,
            headers: vec![("authorization", self.authorization()?)],
            body: json_body(body),
            // Basic authentication wraps it: an error page may show it unwrapped.
            hidden: vec![self.token()?],
        };
        http.exchange(request, now).await?.success()
    }
}

impl Destination for RequestTracker {
    fn kind(&self) -> &'static str {
        "request_tracker"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.server()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.server()?;
        self.authorization()?;
        if self.queue.trim().is_empty() {
            return Err(ConfigError::Value {
                key: "request_tracker.queue",
                problem: "is empty; name a queue such as General".to_owned(),
            });
        }
        let warning = self.token.warning("request_tracker.token");
        Ok(warning.into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        ticket::send(self, http, parcel)
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        ticket::find(self, http, parcel)
    }
}

impl Tracker for RequestTracker {
    fn open<'a>(
        &'a self,
        http: &'a Http,
        label: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, Option<String>> {
        Box::pin(async move {
            let search = format!("Subject LIKE '{label}' AND Status = '__Active__'");
            let query = [("query", search.as_str()), ("per_page", "1")];
            let reply = self
                .ask(http, Method::GET, &["tickets"], &query, &Value::Null, now)
                .await?;
            let found = reply.json()?;
            let id = &found["items"][0]["id"];
            // A number in some releases, text in others.
            Ok(id
                .as_str()
                .map(str::to_owned)
                .or_else(|| id.as_u64().map(|n| n.to_string())))
        })
    }

    fn create<'a>(
        &'a self,
        http: &'a Http,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let body = json!({
                "Queue": self.queue,
                "Subject": format!("{} [{}]", ticket.title(SUBJECT_CHARS), ticket.label),
                "Content": ticket.text(TEXT_BYTES, html),
                "ContentType": "text/html",
            });
            let reply = self
                .ask(http, Method::POST, &["ticket"], &[], &body, now)
                .await?;
            let answer = reply.json()?;
            let id = &answer["id"];
            let id = id
                .as_str()
                .map(str::to_owned)
                .or_else(|| id.as_u64().map(|n| n.to_string()));
            reply.receipt(id.as_deref())
        })
    }

    fn comment<'a>(
        &'a self,
        http: &'a Http,
        id: &'a str,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let body = json!({
                "Subject": format!("{} [{}]", ticket.title(SUBJECT_CHARS), ticket.key),
                "Content": ticket.text(TEXT_BYTES, html),
                "ContentType": "text/html",
            });
            let path = ["ticket", id, "comment"];
            let reply = self.ask(http, Method::POST, &path, &[], &body, now).await?;
            reply.receipt(Some(id))
        })
    }

    fn mentions<'a>(
        &'a self,
        http: &'a Http,
        id: &'a str,
        key: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, bool> {
        Box::pin(async move {
            let path = ["ticket", id, "attachments"];
            let query = [("fields", "Subject"), ("per_page", "100")];
            let reply = self
                .ask(http, Method::GET, &path, &query, &Value::Null, now)
                .await?;
            Ok(reply.body.contains(key))
        })
    }
}
