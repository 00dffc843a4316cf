//! ServiceNow incidents, through the Table API.
//!
//! The correlation id finds the incident. The Table API does not fold records of one correlation id into one, so it is asked
//! first. Work notes are its comments; the record itself gives the latest of them as text.

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, Receipt};
use super::document::{Document, plain};
use super::secret::{SecretSource, basic, bearer};
use super::ticket::{Call, Line, Ticket, Tracker, id_in};
use leakhound_rules::Severity;

/// ServiceNow takes 160 characters.
const TITLE_CHARS: usize = 160;
/// ServiceNow's description takes 4,000 characters unless somebody widened it.
const TEXT_BYTES: usize = 3_900;

/// `servicenow = { site = "https://shop.service-now.com", user = "leakhound", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Servicenow {
    /// Address of the instance.
    pub site: String,
    /// Name of the account; without it `token` is an OAuth access token.
    pub user: Option<String>,
    /// Password of the account, or an access token.
    pub token: SecretSource,
    /// Group that is to look at it: its name or its sys_id.
    pub group: Option<String>,
}

/// Plain text, in which `[code]` would begin HTML.
fn text(document: &Document) -> String {
    harmless(&plain(document))
}

fn harmless(text: &str) -> String {
    text.replace('[', "[\u{2060}")
}

impl Servicenow {
    /// The record of a new incident.
    #[must_use]
    pub fn record(&self, ticket: &Ticket<'_>) -> Value {
        // 1 is high; what follows from the two is the instance's own rule.
        let (urgency, impact) = match ticket.message().severity {
            Severity::Critical => ("1", "2"),
            Severity::Warning => ("2", "2"),
            Severity::Info => ("3", "3"),
        };
        let mut record = json!({
            "short_description": ticket.title(TITLE_CHARS),
            "description": ticket.text(TEXT_BYTES, text),
            "correlation_id": ticket.label,
            "correlation_display": "Leakhound",
            "urgency": urgency,
            "impact": impact,
        });
        if let Some(group) = &self.group {
            record["assignment_group"] = group.as_str().into();
        }
        record
    }
}

impl Tracker for Servicenow {
    const KIND: &'static str = "servicenow";

    fn api(&self) -> Result<Address, ConfigError> {
        let site = Address::given(&self.site, "servicenow.site")?;
        Ok(site.join(&["api", "now", "table", "incident"]))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let token = self.token.get("servicenow.token")?;
        let authorization = match &self.user {
            Some(user) => basic(user, &token),
            None => bearer(&token),
        };
        Ok(vec![
            ("authorization", authorization),
            ("accept", "application/json".to_owned().into()),
        ])
    }

    fn hidden(&self) -> Result<Vec<SecretString>, ConfigError> {
        Ok(vec![self.token.get("servicenow.token")?])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        let warning = self.token.warning("servicenow.token");
        Ok(warning.into_iter().collect())
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let search = format!("correlation_id={label}^active=true^ORDERBYDESCsys_created_on");
        let query = [
            ("sysparm_query", search.as_str()),
            ("sysparm_fields", "sys_id"),
            ("sysparm_limit", "1"),
        ];
        let reply = line.ask(self, Call::get(&[], &query)).await?;
        Ok(id_in(&reply.json()?["result"][0]["sys_id"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let call = Call::post(&[], self.record(ticket));
        let reply = line
            .ask(self, call.asking(&[("sysparm_fields", "sys_id,number")]))
            .await?;
        reply.receipt(id_in(&reply.json()?["result"]["sys_id"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let notes = format!(
            "{}\n{}",
            harmless(&ticket.title(TITLE_CHARS)),
            ticket.text(TEXT_BYTES, text)
        );
        let path = [id];
        let call = Call::new(Method::PATCH, &path, json!({ "work_notes": notes }));
        line.ask(self, call.asking(&[("sysparm_fields", "sys_id,number")]))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let query = [
            ("sysparm_fields", "work_notes"),
            ("sysparm_display_value", "true"),
        ];
        let reply = line.ask(self, Call::get(&[id], &query)).await?;
        Ok(reply.body.contains(key))
    }
}
