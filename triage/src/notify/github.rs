//! GitHub issues, through the REST API of the public site or of an enterprise server.
//!
//! The label finds the ticket: a list by label is consistent at once, which the search is not. A label that does not exist yet is
//! made with the issue. Comments are looked through from an hour back, since they are listed from the oldest on.

use jiff::SignedDuration;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, FailureKind, Receipt};
use super::document::markdown;
use super::http::Reply;
use super::secret::{SecretSource, bearer};
use super::ticket::{Call, Line, Ticket, Tracker, id_in};

/// GitHub takes 256 characters.
const TITLE_CHARS: usize = 200;
/// GitHub takes 65,536 characters; our own replies must fit into what we read of one.
const TEXT_BYTES: usize = 20_000;
/// How far back comments are looked through.
const BACK: SignedDuration = SignedDuration::from_hours(1);

/// `github = { repository = "shop/cart", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Github {
    /// `owner/name`.
    pub repository: String,
    /// Base address of the API.
    #[serde(default = "public_api")]
    pub api: String,
    /// Token with the right to write issues.
    pub token: SecretSource,
}

fn public_api() -> String {
    "https://api.github.com".to_owned()
}

impl Github {
    fn parts(&self) -> Result<(&str, &str), ConfigError> {
        let good = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        self.repository
            .split_once('/')
            .filter(|(owner, name)| good(owner) && good(name))
            .ok_or_else(|| ConfigError::Value {
                key: "github.repository",
                problem: format!("expected owner/name, found {:?}", self.repository),
            })
    }
}

/// The body of a new issue.
#[must_use]
pub fn issue(ticket: &Ticket<'_>) -> Value {
    json!({
        "title": ticket.title(TITLE_CHARS),
        "body": ticket.text(TEXT_BYTES, markdown),
        "labels": ["leakhound", ticket.label],
    })
}

impl Tracker for Github {
    const KIND: &'static str = "github";

    fn api(&self) -> Result<Address, ConfigError> {
        let (owner, name) = self.parts()?;
        Ok(Address::given(&self.api, "github.api")?.join(&["repos", owner, name, "issues"]))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let header = |text: &str| SecretString::from(text.to_owned());
        Ok(vec![
            ("authorization", bearer(&self.token.get("github.token")?)),
            ("accept", header("application/vnd.github+json")),
            ("x-github-api-version", header("2022-11-28")),
        ])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        Ok(self.token.warning("github.token").into_iter().collect())
    }

    fn judge(&self, reply: Reply) -> Result<Reply, Failure> {
        // Limits on content that is made too fast are answered 403 with a time to wait.
        if reply.status == 403 && reply.retry_after().is_some() {
            let reason = format!("asked to come back later: {}", reply.said());
            return Err(reply.failure(FailureKind::Retry(reply.retry_after()), reason));
        }
        reply.success()
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let query = [("labels", label), ("state", "open"), ("per_page", "1")];
        let reply = line.ask(self, Call::get(&[], &query)).await?;
        Ok(id_in(&reply.json()?[0]["number"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let reply = line.ask(self, Call::post(&[], issue(ticket))).await?;
        reply.receipt(id_in(&reply.json()?["number"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let body = json!({ "body": ticket.text(TEXT_BYTES, markdown) });
        line.ask(self, Call::post(&[id, "comments"], body))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let since = line
            .now
            .saturating_sub(BACK)
            .unwrap_or(line.now)
            .to_string();
        let query = [("since", since.as_str()), ("per_page", "30")];
        let reply = line.ask(self, Call::get(&[id, "comments"], &query)).await?;
        Ok(reply.body.contains(key))
    }
}
