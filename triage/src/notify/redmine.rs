//! Redmine issues.
//!
//! Redmine has no labels: the label stands in the subject, which its list filters by. Its notes can only be read with the whole
//! issue. A text is written as preformatted text, since which markup it would be is a setting that nobody can ask for.

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, Receipt};
use super::document::{Document, plain};
use super::secret::SecretSource;
use super::ticket::{Call, Line, Ticket, Tracker, id_in};

/// Redmine takes 255 characters of a subject; the label needs some of them.
const SUBJECT_CHARS: usize = 220;
const TEXT_BYTES: usize = 30_000;
/// An issue with all its notes.
const ISSUE_BYTES: usize = 4 << 20;

/// `redmine = { site = "https://…", project = "cart", key = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redmine {
    /// Base address.
    pub site: String,
    /// Identifier of the project, or its number.
    pub project: String,
    /// Number of the tracker; the project's first when absent.
    pub tracker: Option<u32>,
    /// API key of the account.
    pub key: SecretSource,
}

/// `<pre>` means the same in Textile and in Markdown. A word joiner keeps what would be a tag in it, the end of the block among
/// them, from being one.
fn preformatted(document: &Document) -> String {
    let text = plain(document).replace('<', "<\u{2060}");
    format!("<pre>\n{text}\n</pre>")
}

impl Tracker for Redmine {
    const KIND: &'static str = "redmine";

    fn api(&self) -> Result<Address, ConfigError> {
        Address::given(&self.site, "redmine.site")
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        Ok(vec![("x-redmine-api-key", self.key.get("redmine.key")?)])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.project.is_empty() || !self.project.chars().all(known) {
            return Err(ConfigError::Value {
                key: "redmine.project",
                problem: format!(
                    "expected an identifier such as cart, found {:?}",
                    self.project
                ),
            });
        }
        Ok(self.key.warning("redmine.key").into_iter().collect())
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let subject = format!("~{label}");
        let query = [
            ("project_id", self.project.as_str()),
            ("status_id", "open"),
            ("subject", &subject),
            ("limit", "1"),
        ];
        let reply = line.ask(self, Call::get(&["issues.json"], &query)).await?;
        Ok(id_in(&reply.json()?["issues"][0]["id"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let mut issue = json!({
            "project_id": self.project,
            "subject": format!("{} [{}]", ticket.title(SUBJECT_CHARS), ticket.label),
            "description": ticket.text(TEXT_BYTES, preformatted),
        });
        if let Some(tracker) = self.tracker {
            issue["tracker_id"] = tracker.into();
        }
        let call = Call::post(&["issues.json"], json!({ "issue": issue }));
        let reply = line.ask(self, call).await?;
        reply.receipt(id_in(&reply.json()?["issue"]["id"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let notes = ticket.text(TEXT_BYTES, preformatted);
        let body = json!({ "issue": { "notes": notes } });
        let file = format!("{id}.json");
        let path = ["issues", file.as_str()];
        line.ask(self, Call::new(Method::PUT, &path, body))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let file = format!("{id}.json");
        let path = ["issues", file.as_str()];
        let call = Call::get(&path, &[("include", "journals")]).reading(ISSUE_BYTES);
        Ok(line.ask(self, call).await?.body.contains(key))
    }
}
