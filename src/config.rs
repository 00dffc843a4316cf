//! The whole configuration: the sections of the parts, and what only the agent needs.

use crate::metrics::MetricsConfig;
use leakhound_archive::retention;
use leakhound_collector::config::{
    AdoptConfig, CaptureConfig, Check, Config as CollectorConfig, ConfigError, Problems,
    ServiceConfig, parse,
};
use leakhound_rules::units::Ratio;
use leakhound_rules::{Bytes, Millis};
use leakhound_triage::child::{Modules, Strings};
use leakhound_triage::notify::DestinationConfig;
use leakhound_triage::notify::cluster::Cluster;
use leakhound_triage::worker::WalkLimits;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A configuration is some pages of text.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// `leakhound.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where captures are kept, and for how long.
    pub archive: ArchiveConfig,
    /// How dumps are taken, and what they may cost.
    pub capture: CaptureConfig,
    /// Folders from which dumps of others are taken in.
    pub adopt: AdoptConfig,
    /// How dumps are read and judged.
    pub triage: TriageConfig,
    /// How often people hear of the same, and when it is over.
    pub incidents: IncidentsConfig,
    /// Figures for Prometheus.
    pub metrics: MetricsConfig,
    /// Where Service Fabric is asked which process is which service. Default: nowhere.
    pub fabric: Option<Cluster>,
    /// The services to watch.
    pub service: Vec<ServiceConfig>,
    /// Who is told.
    pub notify: Vec<DestinationConfig>,
}

/// `[archive]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// The folder. Default `/var/lib/leakhound`.
    pub location: PathBuf,
    /// How long whole captures stay: sheet, diagnosis and dump.
    pub retain: Retain,
    /// How long dumps stay; their sheets live on and can be judged again.
    pub retain_dumps: Retain,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            location: PathBuf::from("/var/lib/leakhound"),
            retain: Retain {
                age: Some(days(365)),
                ..Retain::default()
            },
            retain_dumps: Retain {
                age: Some(days(30)),
                per_service: Some(10),
                total: Some(Bytes(50_000_000_000)),
            },
        }
    }
}

const fn days(n: u64) -> Millis {
    Millis(n * 86_400_000)
}

/// A bound on what is kept; the tightest of those given counts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retain {
    /// Older ones go, such as `"30 days"`.
    pub age: Option<Millis>,
    /// Only the newest so many per service stay.
    pub per_service: Option<u32>,
    /// All files together stay under this, such as `"50 GB"`.
    pub total: Option<Bytes>,
}

impl Retain {
    fn limits(&self) -> retention::Limits {
        retention::Limits {
            age: self
                .age
                .map(|a| jiff::SignedDuration::from_millis(i64::try_from(a.0).unwrap_or(i64::MAX))),
            per_service: self.per_service,
            total_bytes: self.total.map(|t| t.0),
        }
    }
}

impl ArchiveConfig {
    /// The policy as the archive takes it.
    pub fn policy(&self) -> retention::Policy {
        retention::Policy {
            bundles: self.retain.limits(),
            dumps: self.retain_dumps.limits(),
            ..retention::Policy::default()
        }
    }
}

/// `[triage]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriageConfig {
    /// Memory that the parser may use. Default `"4 GB"`.
    pub memory: Bytes,
    /// Time that one dump may take. Default `"30 min"`.
    pub time: Millis,
    /// Show contents of strings in reports (shortened, secrets scrubbed). Default false: length and hash.
    pub show_strings: bool,
    /// Where module files may come from when a dump lacks their pages: `none`, `mapped` (default), or a folder.
    pub modules: String,
    /// A folder of rules of your own; a rule with the id of a shipped one replaces it.
    pub rules: Option<PathBuf>,
    /// Link to reports in messages; `{key}` becomes the capture's key. Default: the report's path on the node.
    pub link: Option<String>,
}

impl Default for TriageConfig {
    fn default() -> Self {
        Self {
            memory: Bytes(4_000_000_000),
            time: Millis(30 * 60_000),
            show_strings: false,
            modules: "mapped".to_owned(),
            rules: None,
            link: None,
        }
    }
}

/// `[incidents]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IncidentsConfig {
    /// Between two messages about an incident that is no worse. Default `"6 h"`.
    pub repeat_every: Millis,
    /// It is worse, and told at once, when its bytes grew by this share. Default `"50%"`.
    pub worse_by: Ratio,
    /// It is over when it was not seen for so long while its service was watched. Default `"14 days"`.
    pub resolve_after: Millis,
}

impl Default for IncidentsConfig {
    fn default() -> Self {
        Self {
            repeat_every: Millis(6 * 3_600_000),
            worse_by: Ratio(0.5),
            resolve_after: days(14),
        }
    }
}

impl IncidentsConfig {
    /// The policy as the incident store takes it.
    pub fn policy(&self) -> leakhound_triage::incidents::Policy {
        let span =
            |ms: Millis| jiff::SignedDuration::from_millis(i64::try_from(ms.0).unwrap_or(i64::MAX));
        leakhound_triage::incidents::Policy {
            repeat_every: span(self.repeat_every),
            worse_percent: (self.worse_by.0 * 100.0).round() as u64,
            quiet: span(self.resolve_after),
        }
    }
}

impl TriageConfig {
    /// The limits as the worker takes them.
    pub fn limits(&self) -> WalkLimits {
        WalkLimits {
            memory_bytes: self.memory.0,
            time_ms: self.time.0,
            modules: modules(&self.modules),
            strings: if self.show_strings {
                Strings::Scrubbed
            } else {
                Strings::Hashed
            },
        }
    }
}

/// `none`, `mapped` or a folder.
pub fn modules(text: &str) -> Modules {
    match text {
        "none" => Modules::None,
        "mapped" => Modules::Mapped,
        folder => Modules::Folder(PathBuf::from(folder)),
    }
}

impl Check for Config {
    fn check(&self, problems: &mut Problems) {
        self.collector().check(problems);
        self.metrics.check(problems);
        if self.triage.memory.0 < 256 << 20 {
            problems.push(
                "triage.memory",
                format!(
                    "{} is too little to read any heap; give at least 256 MiB",
                    self.triage.memory
                ),
                None,
                None,
            );
        }
        if let Some(Err(wrong)) = self.fabric.as_ref().map(Cluster::check_values) {
            problems.push("fabric", wrong.to_string(), None, None);
        }
        if let Err(twice) = leakhound_triage::notify::config::check_names(&self.notify) {
            problems.push("notify", twice.to_string(), None, None);
        }
        for (index, service) in self.service.iter().enumerate() {
            for name in service.notify.iter().flatten() {
                if !self.notify.iter().any(|d| &d.name == name) {
                    let known = self.notify.iter().map(|d| d.name.as_str());
                    problems.push(
                        format!("service[{index}].notify"),
                        format!("no destination is called `{name}`"),
                        None,
                        leakhound_rules::diagnostic::nearest(name, known),
                    );
                }
            }
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        let about = || format!("cannot read the configuration {}", path.display());
        let size = std::fs::metadata(path).with_context(about)?.len();
        anyhow::ensure!(
            size <= FILE_LIMIT_BYTES,
            "{}: a configuration has at most {FILE_LIMIT_BYTES} bytes, this file has {size}",
            path.display()
        );
        let text = std::fs::read_to_string(path).with_context(about)?;
        Ok(Self::parse(&text, path)?)
    }

    /// Reads and checks a text; `path` is named in messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        parse(text, path)
    }

    /// The sections that the collector works by.
    pub fn collector(&self) -> CollectorConfig {
        CollectorConfig {
            service: self.service.clone(),
            capture: self.capture.clone(),
            adopt: self.adopt.clone(),
        }
    }
}
