//! GitLab issues, on the public site or a server of one's own.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, Receipt};
use super::document::markdown;
use super::secret::SecretSource;
use super::ticket::{Call, Line, Ticket, Tracker, id_in};

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

impl Tracker for Gitlab {
    const KIND: &'static str = "gitlab";

    fn api(&self) -> Result<Address, ConfigError> {
        // The project is one segment: its slashes are encoded.
        let path = ["api", "v4", "projects", self.project.as_str(), "issues"];
        Ok(Address::given(&self.site, "gitlab.site")?.join(&path))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        Ok(vec![("private-token", self.token.get("gitlab.token")?)])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        if self.project.trim_matches('/').is_empty() || self.project.contains(char::is_whitespace) {
            let problem = format!(
                "expected a path such as shop/cart, found {:?}",
                self.project
            );
            return Err(ConfigError::Value {
                key: "gitlab.project",
                problem,
            });
        }
        Ok(self.token.warning("gitlab.token").into_iter().collect())
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let query = [("labels", label), ("state", "opened"), ("per_page", "1")];
        let reply = line.ask(self, Call::get(&[], &query)).await?;
        Ok(id_in(&reply.json()?[0]["iid"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let body = json!({
            "title": ticket.title(TITLE_CHARS),
            "description": ticket.text(TEXT_BYTES, markdown),
            "labels": format!("leakhound,{}", ticket.label),
        });
        let reply = line.ask(self, Call::post(&[], body)).await?;
        reply.receipt(id_in(&reply.json()?["iid"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let body = json!({ "body": ticket.text(TEXT_BYTES, markdown) });
        line.ask(self, Call::post(&[id, "notes"], body))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let query = [
            ("sort", "desc"),
            ("order_by", "created_at"),
            ("per_page", LATEST),
        ];
        let reply = line.ask(self, Call::get(&[id, "notes"], &query)).await?;
        Ok(reply.body.contains(key))
    }
}
