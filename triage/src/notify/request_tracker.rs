//! Request Tracker 5, through REST 2.0.
//!
//! RT has no labels by default: the label stands in the subject, and the search is over subjects. A comment bears its key in its
//! own subject, which the list of attachments gives.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, Receipt};
use super::document::html;
use super::secret::{SecretSource, basic};
use super::ticket::{Call, Line, Ticket, Tracker, id_in};

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

impl Tracker for RequestTracker {
    const KIND: &'static str = "request_tracker";

    fn api(&self) -> Result<Address, ConfigError> {
        Ok(Address::given(&self.site, "request_tracker.site")?.join(&["REST", "2.0"]))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let token = self.token.get("request_tracker.token")?;
        // Tokens are digits and dashes; a colon is that of a password.
        let authorization = match token.expose_secret().split_once(':') {
            Some((user, password)) => basic(user, &password.to_owned().into()),
            None => format!("token {}", token.expose_secret()).into(),
        };
        Ok(vec![("authorization", authorization)])
    }

    /// Basic authentication wraps it: an error page may show it unwrapped.
    fn hidden(&self) -> Result<Vec<SecretString>, ConfigError> {
        Ok(vec![self.token.get("request_tracker.token")?])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        if self.queue.trim().is_empty() {
            return Err(ConfigError::Value {
                key: "request_tracker.queue",
                problem: "is empty; name a queue such as General".to_owned(),
            });
        }
        let warning = self.token.warning("request_tracker.token");
        Ok(warning.into_iter().collect())
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let search = format!("Subject LIKE '{label}' AND Status = '__Active__'");
        let query = [("query", search.as_str()), ("per_page", "1")];
        let reply = line.ask(self, Call::get(&["tickets"], &query)).await?;
        Ok(id_in(&reply.json()?["items"][0]["id"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let body = json!({
            "Queue": self.queue,
            "Subject": format!("{} [{}]", ticket.title(SUBJECT_CHARS), ticket.label),
            "Content": ticket.text(TEXT_BYTES, html),
            "ContentType": "text/html",
        });
        let reply = line.ask(self, Call::post(&["ticket"], body)).await?;
        reply.receipt(id_in(&reply.json()?["id"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let body = json!({
            "Subject": format!("{} [{}]", ticket.title(SUBJECT_CHARS), ticket.key),
            "Content": ticket.text(TEXT_BYTES, html),
            "ContentType": "text/html",
        });
        line.ask(self, Call::post(&["ticket", id, "comment"], body))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let path = ["ticket", id, "attachments"];
        let query = [("fields", "Subject"), ("per_page", "100")];
        let reply = line.ask(self, Call::get(&path, &query)).await?;
        Ok(reply.body.contains(key))
    }
}
