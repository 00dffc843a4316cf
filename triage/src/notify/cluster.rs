//! `[fabric]`: the cluster is asked which processes of this node belong to which service.
//!
//! Nothing is changed there but for notices, where primaries are to be spared; else a read-only client certificate will do. Every
//! answer is bounded in size and time, and what does not look as it should is passed over: identities come from the environment
//! first, this only completes them.

mod notice;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use leakhound_archive::manifest::{FabricRecord, ReplicaRecord};
use leakhound_rules::Millis;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::ConfigError;
use super::destination::{Failure, FailureKind};
use super::gateway::{Gateway, Headers, Names};
use super::http::{Http, Limits, REPLY_LIMIT_BYTES, Request};
use super::pinned::Thumbprint;
use super::secret::SecretSource;

/// Applications of one node; clusters have tens.
const MAX_APPLICATIONS: usize = 1_000;
/// Pages of one answer.
const MAX_PAGES: usize = 100;
/// A node with a thousand replicas answers in half a megabyte.
const ANSWER_LIMIT_BYTES: usize = 64 * REPLY_LIMIT_BYTES;
/// One exchange; the cluster is near.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    total: Duration::from_secs(10),
};
/// All of them together.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a primary may wait.
const PATIENCE_MS: std::ops::RangeInclusive<u64> = 5_000..=600_000;

const NAMES: Names = Names {
    gateway: "fabric.gateway",
    certificate: "fabric.certificate",
    key: "fabric.key",
    token: "fabric.token",
};

/// `[fabric]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Address of the cluster's HTTP gateway.
    pub gateway: String,
    /// Client certificate with its chain, and its key, as PEM; a read-only one will do.
    pub certificate: Option<SecretSource>,
    /// Key of the certificate, where it lies apart.
    pub key: Option<SecretSource>,
    /// Access token, in place of a certificate.
    pub token: Option<SecretSource>,
    /// Thumbprints of the gateway's certificate; without any, the trust store of the system and the host name decide.
    #[serde(default)]
    pub servers: Vec<Thumbprint>,
    /// How often it is asked.
    #[serde(default = "half_a_minute")]
    pub every: Millis,
    /// How long a primary waits for a secondary to be captured in its place; zero: it does not, and nothing is reported.
    #[serde(default)]
    pub prefer_secondary: Millis,
}

fn half_a_minute() -> Millis {
    Millis(30_000)
}

impl Cluster {
    fn gateway(&self) -> Gateway<'_> {
        Gateway {
            address: &self.gateway,
            certificate: self.certificate.as_ref(),
            key: self.key.as_ref(),
            token: self.token.as_ref(),
            servers: &self.servers,
            names: &NAMES,
        }
    }

    /// Whether its values are any; secrets are not read.
    ///
    /// # Errors
    /// A value is none.
    pub fn check_values(&self) -> Result<(), ConfigError> {
        self.gateway().address()?;
        if self.every.0 < 1_000 {
            return Err(ConfigError::Value {
                key: "fabric.every",
                problem: format!("{} is too short; give at least `1 s`", self.every),
            });
        }
        if self.prefer_secondary.0 != 0 && !PATIENCE_MS.contains(&self.prefer_secondary.0) {
            return Err(ConfigError::Value {
                key: "fabric.prefer_secondary",
                problem: format!(
                    "{} is not from `5 s` to `10 min`, nor `0 s` for never: a secondary needs time to be captured, and a primary \
                     should not wait until it is gone",
                    self.prefer_secondary
                ),
            });
        }
        Ok(())
    }

    /// Whether it can be asked from here; what could be safer.
    ///
    /// # Errors
    /// A value is none, or a secret cannot be read.
    pub fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.check_values()?;
        let gateway = self.gateway();
        gateway.client(&Http::new(LIMITS))?;
        gateway.headers()?;
        Ok(gateway.warnings())
    }

    /// What lives in the processes of a node, by process id.
    ///
    /// # Errors
    /// The gateway cannot be reached, lets us not in, or does not answer as one.
    pub async fn processes(&self, node: &str) -> Result<BTreeMap<u32, FabricRecord>, Failure> {
        let asking = async {
            let http = Http::new(LIMITS);
            Session::new(self, &http)?.processes(node).await
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| {
                Err(Failure {
                    kind: FailureKind::Retry(None),
                    reason: format!("the cluster did not answer all questions within {PATIENCE:?}"),
                    said: None,
                })
            })
    }
}

/// One round of questions over one client.
struct Session<'a> {
    gateway: Gateway<'a>,
    http: &'a Http,
    client: Option<reqwest::Client>,
    headers: Headers,
}

impl<'a> Session<'a> {
    fn new(cluster: &'a Cluster, http: &'a Http) -> Result<Self, ConfigError> {
        let gateway = cluster.gateway();
        Ok(Self {
            client: gateway.client(http)?,
            headers: gateway.headers()?,
            gateway,
            http,
        })
    }

    async fn processes(&self, node: &str) -> Result<BTreeMap<u32, FabricRecord>, Failure> {
        let mut by_pid = BTreeMap::new();
        for application in self.applications(node).await? {
            let folder = ["Nodes", node, "$", "GetApplications", &application.id, "$"];
            let path = |last| [&folder[..], &[last]].concat();
            let packages: Vec<CodePackage> = self.list(&path("GetCodePackages")).await?;
            let replicas: Vec<Replica> = self.list(&path("GetReplicas")).await?;
            by_pid.extend(joined(node, &application, &packages, &replicas));
        }
        Ok(by_pid)
    }

    async fn applications(&self, node: &str) -> Result<Vec<Application>, Failure> {
        let path = ["Nodes", node, "$", "GetApplications"];
        let (mut all, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let mut query = vec![("api-version", "6.1")];
            if !token.is_empty() {
                query.push(("ContinuationToken", token.as_str()));
            }
            let Some(page) = self.ask::<Page>(&path, &query).await? else {
                break;
            };
            let page = page?;
            all.extend(page.items.into_iter().take(MAX_APPLICATIONS - all.len()));
            token = page.continuation_token.unwrap_or_default();
            if token.is_empty() || all.len() == MAX_APPLICATIONS {
                break;
            }
        }
        Ok(all)
    }

    async fn list<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>, Failure> {
        match self.ask(path, &[("api-version", "6.0")]).await? {
            Some(list) => list,
            None => Ok(Vec::new()),
        }
    }

    /// The answer to a question; `None` where there is nothing (204), or no longer (404): an application may go in between.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<Result<T, Failure>>, Failure> {
        let address = self.gateway.address()?.join(path).with_query(query);
        let request = Request {
            method: Method::GET,
            client: self.client.clone(),
            headers: self.headers.clone(),
            reply_limit_bytes: ANSWER_LIMIT_BYTES,
            ..Request::post(address, Vec::new())
        };
        let reply = self.http.exchange(request, Timestamp::now()).await?;
        if reply.status == 204 || (reply.status == 404 && path.len() > 4) {
            return Ok(None);
        }
        let reply = reply.success()?;
        let answer = serde_json::from_value(reply.json()?).map_err(|error| {
            reply.stranger(&format!("expected an answer of Service Fabric ({error})"))
        });
        Ok(Some(answer))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    continuation_token: Option<String>,
    items: Vec<Application>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Application {
    id: String,
    name: String,
    type_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CodePackage {
    name: String,
    version: Option<String>,
    service_manifest_name: String,
    service_package_activation_id: Option<String>,
    main_entry_point: Option<EntryPoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EntryPoint {
    process_id: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Replica {
    service_name: String,
    service_manifest_name: Option<String>,
    code_package_name: Option<String>,
    service_package_activation_id: Option<String>,
    partition_id: Option<String>,
    host_process_id: Number,
    /// Of a stateful service.
    replica_id: Option<String>,
    replica_role: Option<String>,
    /// Of a stateless one.
    instance_id: Option<String>,
}

/// Process ids are numbers in text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "serde_json::Value")]
struct Number(Option<u32>);

impl From<serde_json::Value> for Number {
    fn from(value: serde_json::Value) -> Self {
        let number = match &value {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        // 0 and -1 are of a package that does not run.
        Number(number.filter(|pid| *pid != 0))
    }
}

/// Code packages and replicas of an application on a node, put together by process.
fn joined(
    node: &str,
    application: &Application,
    packages: &[CodePackage],
    replicas: &[Replica],
) -> BTreeMap<u32, FabricRecord> {
    let record = || FabricRecord {
        node: Some(node.to_owned()),
        application: Some(application.name.clone()),
        application_type: application.type_name.clone(),
        ..FabricRecord::default()
    };
    let pid_of = |package: &CodePackage| package.main_entry_point.as_ref()?.process_id.0;
    let mut by_pid = BTreeMap::new();
    for package in packages {
        if let Some(pid) = pid_of(package) {
            by_pid.insert(
                pid,
                FabricRecord {
                    service_package: Some(package.service_manifest_name.clone()),
                    code_package: Some(package.name.clone()),
                    code_version: package.version.clone(),
                    ..record()
                },
            );
        }
    }
    for replica in replicas {
        // Guest executables are hosted on their behalf: the process is then the one of their code package.
        let is_of = |package: &&CodePackage| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            package.service_manifest_name == text(&replica.service_manifest_name)
                && package.name == text(&replica.code_package_name)
                && text(&package.service_package_activation_id)
                    == text(&replica.service_package_activation_id)
        };
        let own = replica
            .host_process_id
            .0
            .filter(|pid| by_pid.contains_key(pid));
        let pid = own
            .or_else(|| packages.iter().find(is_of).and_then(pid_of))
            .or(replica.host_process_id.0);
        if let Some(pid) = pid.filter(|_| !replica.service_name.is_empty()) {
            let role = replica.replica_role.clone();
            by_pid
                .entry(pid)
                .or_insert_with(record)
                .replicas
                .push(ReplicaRecord {
                    service: replica.service_name.clone(),
                    partition: replica.partition_id.clone(),
                    id: replica.replica_id.clone().or(replica.instance_id.clone()),
                    role: role
                        .filter(|role| !matches!(role.as_str(), "Unknown" | "None" | "Invalid")),
                });
        }
    }
    by_pid
}
