//! Jira: Cloud (REST v3) and Data Center (REST v2).
//!
//! Cloud takes its document format (ADF) and Basic authentication by e-mail address and API token; its search is
//! `/search/jql`, since `/search` answers 410 now. Data Center takes wiki markup and a personal access token. The index behind
//! the search lags some seconds behind; what was made in that time is found at the next attempt.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, Receipt};
use super::document::{Document, adf, wiki};
use super::secret::{SecretSource, basic, bearer};
use super::ticket::{Call, Line, Ticket, Tracker};

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
}

impl Tracker for Jira {
    const KIND: &'static str = "jira";

    fn api(&self) -> Result<Address, ConfigError> {
        let version = if self.is_cloud() { "3" } else { "2" };
        Ok(Address::given(&self.site, "jira.site")?.join(&["rest", "api", version]))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let token = self.token.get("jira.token")?;
        let authorization = match &self.user {
            Some(user) => basic(user, &token),
            None => bearer(&token),
        };
        Ok(vec![
            ("authorization", authorization),
            ("accept", "application/json".to_owned().into()),
        ])
    }

    /// Basic authentication wraps it: an error page may show it unwrapped.
    fn hidden(&self) -> Result<Vec<SecretString>, ConfigError> {
        Ok(vec![self.token.get("jira.token")?])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if self.project.is_empty() || !self.project.chars().all(known) {
            return Err(ConfigError::Value {
                key: "jira.project",
                problem: format!("expected a key such as SHOP, found {:?}", self.project),
            });
        }
        Ok(self.token.warning("jira.token").into_iter().collect())
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
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
        let found = line.ask(self, Call::post(path, body)).await?.json()?;
        Ok(found["issues"][0]["key"].as_str().map(str::to_owned))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let body = json!({ "fields": {
            "project": { "key": self.project },
            "issuetype": { "name": self.issue_type },
            "summary": ticket.title(SUMMARY_CHARS),
            "description": self.text(ticket),
            "labels": ["leakhound", ticket.label],
        } });
        let reply = line.ask(self, Call::post(&["issue"], body)).await?;
        reply.receipt(reply.json()?["key"].as_str())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let body = json!({ "body": self.text(ticket) });
        let path = ["issue", id, "comment"];
        line.ask(self, Call::post(&path, body))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let query = [("orderBy", "-created"), ("maxResults", LATEST)];
        let path = ["issue", id, "comment"];
        let reply = line.ask(self, Call::get(&path, &query)).await?;
        Ok(reply.body.contains(key))
    }
}
