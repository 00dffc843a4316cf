//! GitLab issues, on the public site or a server of one's own.

use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request, json_body};
use super::secret::SecretSource;
use super::ticket::document::markdown;
use super::ticket::{self, Ticket, Tracker};

/// GitLab takes 255 characters.
const TITLE_CHARS: usize = 255;
/// GitLab takes a million characters; our own replies must fit into what we read of one.
const TEXT_BYTES: usize = 20_000;
/// Notes that are looked through for a key.
const LATEST: &str = "10";

/// `gitlab = { project = "shop/cart", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gitlab {
    /// Path of the project, or its number.
    pub project: String,
    /// Base address of the server.
    #[serde(default = "public_site")]
    pub site: String,
    /// Access token with the scope `api`.
    pub token: SecretSource,
}

fn public_site() -> String {
    "https://gitlab.com".to_owned()
}

impl Gitlab {
    fn server(&self) -> Result<Address, ConfigError> {
        Address::parse(&self.site).map_err(|problem| ConfigError::Value {
            key: "gitlab.site",
            problem: format!("the address {problem}"),
        })
    }

    fn token(&self) -> Result<SecretString, ConfigError> {
        self.token.read().map_err(|error| ConfigError::Secret {
            key: "gitlab.token",
            error,
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
        // The project is one segment: its slashes are encoded.
        let segments: Vec<&str> = ["api", "v4", "projects", self.project.as_str(), "issues"]
            .iter()
            .chain(path)
            .copied()
            .collect();
        let request = Request {
            address: self.server()?.join(&segments).with_query(query),
            method,
            headers: vec![("private-token", self.token()?)],
            body: json_body(body),
            hidden: Vec::new(),
        };
        http.exchange(request, now).await?.success()
    }
}

impl Destination for Gitlab {
    fn kind(&self) -> &'static str {
        "gitlab"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.server()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.server()?;
        self.token()?;
        if self.project.trim_matches('/').is_empty() || self.project.contains(char::is_whitespace) {
            return Err(ConfigError::Value {
                key: "gitlab.project",
                problem: format!(
                    "expected a path such as shop/cart, found {:?}",
                    self.project
                ),
            });
        }
        Ok(self.token.warning("gitlab.token").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        ticket::send(self, http, parcel)
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        ticket::find(self, http, parcel)
    }
}

impl Tracker for Gitlab {
    fn open<'a>(
        &'a self,
        http: &'a Http,
        label: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, Option<String>> {
        Box::pin(async move {
            let query = [("labels", label), ("state", "opened"), ("per_page", "1")];
            let reply = self
                .ask(http, Method::GET, &[], &query, &Value::Null, now)
                .await?;
            Ok(reply.json()?[0]["iid"].as_u64().map(|n| n.to_string()))
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
                "title": ticket.title(TITLE_CHARS),
                "description": ticket.text(TEXT_BYTES, markdown),
                "labels": format!("leakhound,{}", ticket.label),
            });
            let reply = self.ask(http, Method::POST, &[], &[], &body, now).await?;
            let number = reply.json()?["iid"].as_u64().map(|n| n.to_string());
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
                .ask(http, Method::POST, &[id, "notes"], &[], &body, now)
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
            let query = [
                ("sort", "desc"),
                ("order_by", "created_at"),
                ("per_page", LATEST),
            ];
            let reply = self
                .ask(http, Method::GET, &[id, "notes"], &query, &Value::Null, now)
                .await?;
            Ok(reply.body.contains(key))
        })
    }
}
