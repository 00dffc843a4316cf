//! `[[service]]`: whom to watch, when to capture, whom to tell.

use super::error::Problems;
use super::value::{CountLimit, Located, Pair, Pattern, Span};
use crate::trigger;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Names that a service cannot have, since they mean something else.
pub const RESERVED_NAMES: &[&str] = &["adopted", "state", ".", ".."];

/// A service to watch.
///
/// A process belongs to the first service in the file that matches it. All matchers given must fit. Without
/// any, `name` itself is the matcher: a `fabric:/…` name is compared with the process's `Fabric_ServiceName`
/// and `Fabric_ApplicationName`, any other name with the process name (assembly, executable or `comm`).
/// With `*` in it, `name` matches .NET processes only and each is archived under its own name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceConfig {
    /// Name under which everything is archived and reported. Required.
    pub name: Located,
    /// Process name: assembly of `dotnet X.dll`, file name of the executable, or `comm`; `*` is a wildcard.
    pub process: Option<Pattern>,
    /// Part of the command line, its arguments joined by spaces; with `*`, all of it.
    pub command: Option<Pattern>,
    /// Part of the cgroup path; with `*`, all of it.
    pub cgroup: Option<Pattern>,
    /// One process by its id.
    pub pid: Option<u32>,
    /// The same matchers and more, as a table.
    #[serde(rename = "match")]
    pub matcher: Match,
    /// How often it is sampled, `"100 ms"` to `"1 h"`. Default `"5 s"`.
    pub every: Span,
    /// Pause after a capture before the next one of this service. Default `"1 h"`.
    pub cooldown: Span,
    /// Most captures of this service in a sliding span; survives restarts. Default `"3 per day"`.
    pub limit: CountLimit,
    /// Destinations (`[[notify]]` names) that get its diagnoses. Default: all.
    pub notify: Option<Vec<String>>,
    /// Take a second capture after each that a trigger began, so that growth can be judged: after a time span such as
    /// `"10 min"`, or when so many bytes were added, such as `"200 MB"`. It needs no cool-down and counts towards `limit`.
    /// Default none; a trigger may have its own.
    pub pair: Option<Pair>,
    /// What a dump holds: `heap` (default), `full`, `structure` (no contents of strings and arrays), or `facts` (no dump,
    /// only what a walk of the process gives).
    pub kind: Kind,
    /// When to capture. Default: four times its own average of 7 days, or 90% of its limit.
    pub trigger: Vec<TriggerConfig>,
    /// Parameters of rules, changed for this service: rule, then name and value as the rule language writes it, such as
    /// `[service.rules.loh-fragmentation]` with `free = "40%"`.
    pub rules: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            name: Located::default(),
            process: None,
            command: None,
            cgroup: None,
            pid: None,
            matcher: Match::default(),
            every: Span::seconds(5),
            cooldown: Span::seconds(3600),
            limit: CountLimit {
                count: 3,
                per: std::time::Duration::from_secs(86_400),
            },
            notify: None,
            pair: None,
            kind: Kind::Heap,
            trigger: Vec::new(),
            rules: BTreeMap::new(),
        }
    }
}

impl ServiceConfig {
    /// A service called `name` with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The triggers as configured, or the default ones.
    #[must_use]
    pub fn triggers(&self) -> Vec<TriggerConfig> {
        if !self.trigger.is_empty() {
            return self.trigger.clone();
        }
        DEFAULT_TRIGGERS
            .iter()
            .map(|(name, when)| TriggerConfig {
                name: (*name).to_owned(),
                when: (*when).into(),
                pair: None,
            })
            .collect()
    }
}

/// What a service without triggers gets.
const DEFAULT_TRIGGERS: &[(&str, &str)] = &[
    (
        "four times the average",
        "private_bytes > 4 * average(private_bytes, 7 days) and private_bytes > 500 MB for 30 s",
    ),
    ("near the limit", "limit_share > 90% for 30 s"),
];

/// Matchers of a process; all that are given must fit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// As `process` of the service.
    pub process: Option<Pattern>,
    /// As `command` of the service.
    pub command: Option<Pattern>,
    /// As `cgroup` of the service.
    pub cgroup: Option<Pattern>,
    /// As `pid` of the service.
    pub pid: Option<u32>,
    /// Path of the executable; `*` is a wildcard.
    pub executable: Option<Pattern>,
    /// Working folder; `*` is a wildcard.
    pub folder: Option<Pattern>,
    /// Kubernetes: `NAMESPACE/WORKLOAD`, `NAMESPACE/WORKLOAD/CONTAINER` or `NAMESPACE/POD`; `*` is a wildcard.
    pub kubernetes: Option<Pattern>,
    /// Service Fabric: `Fabric_ApplicationName`.
    pub application: Option<Pattern>,
    /// Service Fabric: the application or a service of the process.
    pub fabric: Option<Pattern>,
    /// Service Fabric: the type of the application, of `Fabric_ApplicationId`.
    pub application_type: Option<Pattern>,
    /// Service Fabric: not these applications and services, whatever else fits.
    pub except: Vec<Pattern>,
    /// Service Fabric: `Fabric_ServiceName`, or what the cluster says lives in the process.
    pub service: Option<Pattern>,
    /// Service Fabric: `Fabric_ServicePackageName`.
    pub service_package: Option<Pattern>,
    /// Service Fabric: `Fabric_CodePackageName`.
    pub code_package: Option<Pattern>,
}

/// When to capture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerConfig {
    /// Name in logs, bundles and messages.
    pub name: String,
    /// Expression over live facts, `private_bytes > 1.5 GB for 30 s`.
    pub when: Located,
    /// As `pair` of the service, for captures of this trigger.
    #[serde(default)]
    pub pair: Option<Pair>,
}

/// What a dump holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All writable memory and module metadata.
    #[default]
    Heap,
    /// Every readable page.
    Full,
    /// The heap's graph without the payload of strings and primitive arrays.
    Structure,
    /// No dump, only what a walk of the process gives.
    Facts,
}

impl Kind {
    /// As it is written in configuration and manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Full => "full",
            Self::Structure => "structure",
            Self::Facts => "facts",
        }
    }
}

pub(super) fn check_all(services: &[ServiceConfig], problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (index, service) in services.iter().enumerate() {
        let key = format!("service[{index}]");
        let name = service.name.text.trim();
        if name.is_empty() {
            problems.push(
                format!("{key}.name"),
                "every service needs a name, such as `name = \"shop-cart\"`",
                service.name.span.clone(),
                None,
            );
        } else if RESERVED_NAMES.contains(&name) {
            let message = format!("`{name}` is a name that the archive uses itself");
            problems.push(
                format!("{key}.name"),
                message,
                service.name.span.clone(),
                None,
            );
        } else if !names.insert(name.to_owned()) {
            let message = format!("a second service is called `{name}`");
            problems.push(
                format!("{key}.name"),
                message,
                service.name.span.clone(),
                None,
            );
        }
        check_one(&key, service, problems);
    }
}

fn check_one(key: &str, service: &ServiceConfig, problems: &mut Problems) {
    let every_ms = service.every.as_ms();
    if !(100..=3_600_000).contains(&every_ms) {
        let message = format!("{} is out of range: 100 ms to 1 h", service.every);
        problems.push(format!("{key}.every"), message, None, None);
    }
    if !crate::capture::is_available(service.kind) {
        let message = format!(
            "no capture method of this machine writes `{}`; write `heap` or `full`",
            service.kind.as_str()
        );
        problems.push(format!("{key}.kind"), message, None, None);
    }
    let pairs = service.pair.is_some() || service.trigger.iter().any(|t| t.pair.is_some());
    if pairs && service.limit.count < 2 {
        let message = format!(
            "a second capture counts towards `limit`, which is {}: there would never be one",
            service.limit
        );
        problems.push(format!("{key}.pair"), message, None, None);
    }
    let mut seen = BTreeSet::new();
    for (index, config) in service.trigger.iter().enumerate() {
        let key = format!("{key}.trigger[{index}]");
        if !seen.insert(&config.name) {
            let message = format!(
                "a second trigger of this service is called `{}`",
                config.name
            );
            problems.push(format!("{key}.name"), message, None, None);
        }
        trigger::check(&format!("{key}.when"), &config.when, problems);
    }
}
