//! What a rule that fired says: one finding, with its evidence, the memory it accounts for and what to do.

use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::sheet::Value;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nobody is woken.
    Info,
    /// Somebody should act during working hours.
    Warning,
    /// Somebody should act now.
    Critical,
}

impl Severity {
    /// As it stands in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What part a finding plays in the story of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Something to fix: memory grows because of it.
    Cause,
    /// What a cause looks like from outside; absorbed when its cause is found.
    Symptom,
    /// Memory that is held for a reason and comes back by itself.
    NotALeak,
    /// The input cannot be trusted; whatever else is said is in doubt.
    Integrity,
}

impl Role {
    /// As it stands in JSON and in rule files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cause => "cause",
            Self::Symptom => "symptom",
            Self::NotALeak => "not-a-leak",
            Self::Integrity => "integrity",
        }
    }

    /// The role called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Every role.
    pub const ALL: [Self; 4] = [Self::Cause, Self::Symptom, Self::NotALeak, Self::Integrity];
}

/// One fact that an expression read, with the value it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Name in the vocabulary; `list.column` for a column; the expression itself for an aggregate.
    pub fact: String,
    /// The exact value.
    pub value: Value,
    /// `bytes`, `count`, `ratio`, `ms`, `bytes/h`, `count/h`, `bool`, `text`.
    pub unit: String,
    /// The value as a person reads it: `870 MB`, `63%`.
    pub text: String,
    /// What the fact means: the vocabulary's sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meaning: String,
}

/// A symptom that a cause explains, kept as a line under the cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absorbed {
    /// Id of the rule that found the symptom.
    pub rule: String,
    /// Its title.
    pub title: String,
    /// What it said.
    pub message: String,
    /// The bytes it would have accounted for.
    pub explained_bytes: u64,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// 1 is the first to read.
    pub rank: u32,
    /// Id of the rule.
    pub rule: String,
    /// One of the closed list of categories.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// How sure, 0 to 100.
    pub confidence: u8,
    /// What it is, in general.
    pub title: String,
    /// What it is, here, with numbers: one or two sentences.
    pub message: String,
    /// The type, field, path or thread to blame.
    pub culprit: String,
    /// Bytes this finding accounts for.
    pub explained_bytes: u64,
    /// The same as a share of the process's commit; null when the commit is unknown.
    pub share_of_commit: Option<f64>,
    /// Every fact that the rule read.
    pub evidence: Vec<Evidence>,
    /// From a root to what accumulates; empty when there is none.
    #[serde(default)]
    pub path: Vec<String>,
    /// What to do, the most useful first.
    pub advice: Vec<String>,
    /// How a sceptic checks it by hand: `sos: !eeheap -gc`.
    pub verify: Vec<String>,
    /// Identity across captures, nodes and versions.
    pub fingerprint: String,
    /// Its part in the story.
    pub role: Role,
    /// Why it has this rank, one sentence.
    pub why_here: String,
    /// Symptoms that this cause explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absorbed: Vec<Absorbed>,
    /// Facts that the rule asked for and that could not be read, with the reason where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}
