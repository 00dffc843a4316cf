//! GitHub issues, through the REST API of the public site or of an enterprise server.
//!
//! The label finds the ticket: a list by label is consistent at once, which the search is not. A label that does not exist yet is
//! made with the issue. Comments are looked through from an hour back, since they are listed from the oldest on.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, FailureKind, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request, json_body};
use super::secret::SecretSource;
use super::ticket::document::markdown;
use super::ticket::{self, Ticket, Tracker};

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
    fn server(&self) -> Result<Address, ConfigError> {
        Address::parse(&self.api).map_err(|problem| ConfigError::Value {
            key: "github.api",
            problem: format!("the address {problem}"),
        })
    }

    fn token(&self) -> Result<SecretString, ConfigError> {
        let token = self.token.read().map_err(|error| ConfigError::Secret {
            key: "github.token",
            error,
        })?;
        Ok(format!("Bearer {}", token.expose_secret()).into())
    }

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

    async fn ask(
        &self,
        http: &Http,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
        now: Timestamp,
    ) -> Result<Reply, Failure> {
        let (owner, name) = self.parts()?;
        let segments: Vec<&str> = ["repos", owner, name, "issues"]
            .iter()
            .chain(path)
            .copied()
            .collect();
        let header = |text: &str| SecretString::from(text.to_owned());
        let request = Request {
            address: self.server()?.join(&segments).with_query(query),
            method,
            headers: vec![
                ("authorization", self.token()?),
                ("accept", header("application/vnd.github+json")),
                ("x-github-api-version", header("2022-11-28")),
            ],
            body: json_body(body),
            hidden: Vec::new(),
        };
        let reply = http.exchange(request, now).await?;
        // Limits on content that is made too fast are answered 403 with a time to wait.
        if reply.status == 403 && reply.retry_after().is_some() {
            let reason = format!("asked to come back later: {}", reply.said());
            return Err(reply.failure(FailureKind::Retry(reply.retry_after()), reason));
        }
        reply.success()
    }
}

impl Destination for Github {
    fn kind(&self) -> &'static str {
        "github"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.server()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.server()?;
        self.parts()?;
        self.token()?;
        Ok(self.token.warning("github.token").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        ticket::send(self, http, parcel)
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        ticket::find(self, http, parcel)
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
    fn open<'a>(
        &'a self,
        http: &'a Http,
        label: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, Option<String>> {
        Box::pin(async move {
            let query = [("labels", label), ("state", "open"), ("per_page", "1")];
            let reply = self
                .ask(http, Method::GET, &[], &query, &Value::Null, now)
                .await?;
            Ok(reply.json()?[0]["number"].as_u64().map(|n| n.to_string()))
        })
    }

    fn create<'a>(
        &'a self,
        http: &'a Http,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let reply = self
                .ask(http, Method::POST, &[], &[], &issue(ticket), now)
                .await?;
            let number = reply.json()?["number"].as_u64().map(|n| n.to_string());
            reply.receipt(number.as_deref())
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
            let body = json!({ "body": ticket.text(TEXT_BYTES, markdown) });
            let reply = self
                .ask(http, Method::POST, &[id, "comments"], &[], &body, now)
                .await?;
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
            let since = now.saturating_sub(BACK).unwrap_or(now).to_string();
            let query = [("since", since.as_str()), ("per_page", "30")];
            let reply = self
                .ask(
                    http,
                    Method::GET,
                    &[id, "comments"],
                    &query,
                    &Value::Null,
                    now,
                )
                .await?;
            Ok(reply.body.contains(key))
        })
    }
}
