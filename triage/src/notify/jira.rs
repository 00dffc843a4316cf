//! Jira: Cloud (REST v3) and Data Center (REST v2).
//!
//! Cloud takes its document format (ADF) and Basic authentication by e-mail address and API token; its search is
//! `/search/jql`, since `/search` answers 410 now. Data Center takes wiki markup and a personal access token. The index behind
//! the search lags some seconds behind; what was made in that time is found at the next attempt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
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
use super::ticket::document::{Document, adf, wiki};
use super::ticket::{self, Ticket, Tracker};

/// Jira cuts no summary: it refuses longer ones.
const SUMMARY_CHARS: usize = 255;
/// Jira refuses descriptions and comments of more than 32,767 characters.
const TEXT_BYTES: usize = 30_000;
/// Comments that are looked through for a key.
const LATEST: &str = "10";

/// `jira = { site = "https://…", project = "SHOP", user = "bot@…", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jira {
    /// Base address: `https://shop.atlassian.net`, or that of a Data Center.
    pub site: String,
    /// Key of the project.
    pub project: String,
    /// Name of the issue type.
    #[serde(default = "bug")]
    pub issue_type: String,
    /// E-mail address of the account, for Cloud; without it the site is a Data Center.
    pub user: Option<String>,
    /// API token (Cloud) or personal access token (Data Center).
    pub token: SecretSource,
}

fn bug() -> String {
    "Bug".to_owned()
}

impl Jira {
    fn server(&self) -> Result<Address, ConfigError> {
        Address::parse(&self.site).map_err(|problem| ConfigError::Value {
            key: "jira.site",
            problem: format!("the address {problem}"),
        })
    }

    fn token(&self) -> Result<SecretString, ConfigError> {
        self.token.read().map_err(|error| ConfigError::Secret {
            key: "jira.token",
            error,
        })
    }

    fn authorization(&self) -> Result<SecretString, ConfigError> {
        let token = self.token()?;
        let token = token.expose_secret();
        Ok(match &self.user {
            Some(user) => format!("Basic {}", BASE64.encode(format!("{user}:{token}"))),
            None => format!("Bearer {token}"),
        }
        .into())
    }

    fn is_cloud(&self) -> bool {
        self.user.is_some()
    }

    /// Text as this kind of Jira takes it.
    fn text(&self, ticket: &Ticket<'_>) -> Value {
        let write: fn(&Document) -> String = if self.is_cloud() { adf } else { wiki };
        let text = ticket.text(TEXT_BYTES, write);
        if self.is_cloud() {
            // Written by us a moment ago.
            serde_json::from_str(&text).unwrap_or_default()
        } else {
            Value::String(text)
        }
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
        let version = if self.is_cloud() { "3" } else { "2" };
        let segments: Vec<&str> = ["rest", "api", version]
            .iter()
            .chain(path)
            .copied()
            .collect();
        let request = Request {
            address: self.server()?.join(&segments).with_query(query),
            method,
            headers: vec![
                ("authorization", self.authorization()?),
                ("accept", "application/json".to_owned().into()),
            ],
            body: json_body(body),
            // Basic authentication wraps it: an error page may show it unwrapped.
            hidden: vec![self.token()?],
        };
        http.exchange(request, now).await?.success()
    }
}

impl Destination for Jira {
    fn kind(&self) -> &'static str {
        "jira"
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
        let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if self.project.is_empty() || !self.project.chars().all(known) {
            return Err(ConfigError::Value {
                key: "jira.project",
                problem: format!("expected a key such as SHOP, found {:?}", self.project),
            });
        }
        Ok(self.token.warning("jira.token").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        ticket::send(self, http, parcel)
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        ticket::find(self, http, parcel)
    }
}

impl Tracker for Jira {
    fn open<'a>(
        &'a self,
        http: &'a Http,
        label: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, Option<String>> {
        Box::pin(async move {
            let jql = format!(
                "project = \"{}\" AND labels = \"{label}\" AND statusCategory != Done ORDER BY created DESC",
                self.project
            );
            let body = json!({ "jql": jql, "fields": ["summary"], "maxResults": 1 });
            let path: &[&str] = if self.is_cloud() {
                &["search", "jql"]
            } else {
                &["search"]
            };
            let reply = self.ask(http, Method::POST, path, &[], &body, now).await?;
            let found = reply.json()?;
            Ok(found["issues"][0]["key"].as_str().map(str::to_owned))
        })
    }

    fn create<'a>(
        &'a self,
        http: &'a Http,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let body = json!({ "fields": {
                "project": { "key": self.project },
                "issuetype": { "name": self.issue_type },
                "summary": ticket.title(SUMMARY_CHARS),
                "description": self.text(ticket),
                "labels": ["leakhound", ticket.label],
            } });
            let reply = self
                .ask(http, Method::POST, &["issue"], &[], &body, now)
                .await?;
            reply.receipt(reply.json()?["key"].as_str())
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
            let body = json!({ "body": self.text(ticket) });
            let path = ["issue", id, "comment"];
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
            let query = [("orderBy", "-created"), ("maxResults", LATEST)];
            let path = ["issue", id, "comment"];
            let reply = self
                .ask(http, Method::GET, &path, &query, &Value::Null, now)
                .await?;
            Ok(reply.body.contains(key))
        })
    }
}
