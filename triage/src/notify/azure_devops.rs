//! Azure DevOps work items, on the public site or a server of one's own.
//!
//! A work item is made by a JSON patch. The tag finds it (WIQL); states are named by each process, so those that mean the end
//! stand in the configuration. A token that is not valid is answered by a page to sign in, with status 203 or a redirect.

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Failure, FailureKind, Receipt};
use super::document::html;
use super::http::Reply;
use super::secret::{SecretSource, basic};
use super::ticket::{Call, Line, Ticket, Tracker, id_in};
use leakhound_rules::Severity;

/// Azure DevOps takes 255 characters.
const TITLE_CHARS: usize = 255;
const TEXT_BYTES: usize = 30_000;
const VERSION: (&str, &str) = ("api-version", "7.1");
/// Comments have an interface that is a preview still, and the only one that lists them.
const COMMENTS: (&str, &str) = ("api-version", "7.1-preview.4");
const PATCH: &str = "application/json-patch+json";

/// `azure_devops = { organization = "https://dev.azure.com/shop", project = "Cart", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureDevops {
    /// Address of the organization, or of the collection of a server.
    pub organization: String,
    /// Name of the project.
    pub project: String,
    /// Type of the work item.
    #[serde(default = "bug")]
    pub work_item: String,
    /// Area path; the project's own when absent.
    pub area: Option<String>,
    /// States that mean that it is over.
    #[serde(default = "closed")]
    pub closed: Vec<String>,
    /// Personal access token with the right to read and write work items.
    pub token: SecretSource,
}

fn bug() -> String {
    "Bug".to_owned()
}

fn closed() -> Vec<String> {
    ["Closed", "Completed", "Done", "Removed", "Resolved"]
        .map(str::to_owned)
        .to_vec()
}

impl AzureDevops {
    /// The work item as a JSON patch.
    #[must_use]
    pub fn patch(&self, ticket: &Ticket<'_>) -> Value {
        let text = ticket.text(TEXT_BYTES, html);
        let priority = match ticket.message().severity {
            Severity::Critical => 1,
            Severity::Warning => 2,
            Severity::Info => 3,
        };
        let mut fields = vec![
            ("System.Title", json!(ticket.title(TITLE_CHARS))),
            ("System.Description", json!(text)),
            ("System.Tags", json!(format!("leakhound; {}", ticket.label))),
            ("Microsoft.VSTS.Common.Priority", json!(priority)),
        ];
        // The form of a bug shows these steps in place of the description.
        if self.work_item == "Bug" {
            fields.push(("Microsoft.VSTS.TCM.ReproSteps", json!(text)));
        }
        fields.extend(
            self.area
                .iter()
                .map(|area| ("System.AreaPath", json!(area))),
        );
        fields
            .into_iter()
            .map(|(field, value)| json!({ "op": "add", "path": format!("/fields/{field}"), "value": value }))
            .collect()
    }
}

impl Tracker for AzureDevops {
    const KIND: &'static str = "azure_devops";

    fn api(&self) -> Result<Address, ConfigError> {
        let organization = Address::given(&self.organization, "azure_devops.organization")?;
        Ok(organization.join(&[&self.project, "_apis", "wit"]))
    }

    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let token = self.token.get("azure_devops.token")?;
        Ok(vec![
            ("authorization", basic("", &token)),
            ("accept", "application/json".to_owned().into()),
        ])
    }

    fn hidden(&self) -> Result<Vec<SecretString>, ConfigError> {
        Ok(vec![self.token.get("azure_devops.token")?])
    }

    fn verify(&self) -> Result<Vec<String>, ConfigError> {
        let named = [
            ("azure_devops.project", &self.project),
            ("azure_devops.work_item", &self.work_item),
        ];
        for (key, value) in named {
            if value.trim().is_empty() {
                return Err(ConfigError::Value {
                    key,
                    problem: "is empty".to_owned(),
                });
            }
        }
        if self.closed.is_empty() || self.closed.iter().any(|state| state.contains('\'')) {
            return Err(ConfigError::Value {
                key: "azure_devops.closed",
                problem: "expected names of states without quotes, such as [\"Closed\", \"Done\"]"
                    .to_owned(),
            });
        }
        let warning = self.token.warning("azure_devops.token");
        Ok(warning.into_iter().collect())
    }

    fn judge(&self, reply: Reply) -> Result<Reply, Failure> {
        if matches!(reply.status, 203 | 302) {
            let reason = format!(
                "not allowed: asked to sign in ({}); check the token",
                reply.status
            );
            return Err(reply.failure(FailureKind::Permanent, reason));
        }
        reply.success()
    }

    async fn open(&self, line: &Line<'_>, label: &str) -> Result<Option<String>, Failure> {
        let closed: Vec<String> = self.closed.iter().map(|s| format!("'{s}'")).collect();
        let wiql = format!(
            "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project \
             AND [System.Tags] CONTAINS '{label}' AND [System.State] NOT IN ({}) ORDER BY [System.Id] DESC",
            closed.join(", ")
        );
        let call = Call::post(&["wiql"], json!({ "query": wiql }));
        let reply = line
            .ask(self, call.asking(&[VERSION, ("$top", "1")]))
            .await?;
        Ok(id_in(&reply.json()?["workItems"][0]["id"]))
    }

    async fn create(&self, line: &Line<'_>, ticket: &Ticket<'_>) -> Result<Receipt, Failure> {
        let kind = format!("${}", self.work_item);
        let path = ["workitems", kind.as_str()];
        let call = Call::new(Method::POST, &path, self.patch(ticket)).of_type(PATCH);
        let reply = line.ask(self, call.asking(&[VERSION])).await?;
        reply.receipt(id_in(&reply.json()?["id"]).as_deref())
    }

    async fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> Result<Receipt, Failure> {
        let body = json!({ "text": ticket.text(TEXT_BYTES, html) });
        let path = ["workItems", id, "comments"];
        line.ask(self, Call::post(&path, body).asking(&[COMMENTS]))
            .await?
            .receipt(Some(id))
    }

    async fn mentions(&self, line: &Line<'_>, id: &str, key: &str) -> Result<bool, Failure> {
        let path = ["workItems", id, "comments"];
        let query = [COMMENTS, ("$top", "10"), ("order", "desc")];
        let reply = line.ask(self, Call::get(&path, &query)).await?;
        Ok(reply.body.contains(key))
    }
}
