//! `[[notify]]` blocks: a name, a floor of severity, and exactly one kind of destination.

use std::collections::BTreeSet;
use std::sync::Arc;

use leakhound_rules::Severity;
use serde::Deserialize;

use super::destination::Destination;
use super::registry::{KINDS, Raw};
use super::secret::SecretError;

/// One `[[notify]]` block.
///
/// ```toml
/// [[notify]]
/// name         = "cart-oncall"
/// min_severity = "warning"                                 # default; info, warning or critical
/// teams        = { webhook = { env = "CART_TEAMS_WEBHOOK" } }
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Raw")]
pub struct DestinationConfig {
    /// Name that services refer to.
    pub name: String,
    /// Diagnoses below this are not sent here.
    pub min_severity: Severity,
    /// The destination itself.
    pub destination: Arc<dyn Destination>,
}

/// What is wrong with a `[[notify]]` block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that cannot be referred to.
    #[error(
        "a destination needs a name of 1 to 64 characters without control characters; found {0:?}"
    )]
    Name(String),
    /// No kind at all.
    #[error("destination `{name}` says nowhere to go: add one of {}", kinds())]
    NoKind {
        /// The destination.
        name: String,
    },
    /// More than one kind.
    #[error("destination `{name}` has {}: give each its own [[notify]] block", .found.join(" and "))]
    SeveralKinds {
        /// The destination.
        name: String,
        /// The kinds found.
        found: Vec<&'static str>,
    },
    /// Two blocks of one name.
    #[error("two destinations are named `{0}`; names must differ")]
    Duplicate(String),
    /// A secret that cannot be read.
    #[error("{key}: {error}")]
    Secret {
        /// Where in the block.
        key: &'static str,
        /// Why.
        error: SecretError,
    },
    /// A value that cannot be used. The value itself may be secret and is not shown.
    #[error("{key}: {problem}")]
    Value {
        /// Where in the block.
        key: &'static str,
        /// Why.
        problem: String,
    },
}

fn kinds() -> String {
    KINDS
        .iter()
        .map(|kind| format!("`{}`", kind.key))
        .collect::<Vec<_>>()
        .join(", ")
}

impl DestinationConfig {
    /// A destination made by a program rather than by a file.
    pub fn new(
        name: impl Into<String>,
        min_severity: Severity,
        destination: Arc<dyn Destination>,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(ConfigError::Name(name));
        }
        Ok(DestinationConfig {
            name,
            min_severity,
            destination,
        })
    }

    /// Everything that can be wrong without sending anything: secrets that cannot be read, addresses that are not
    /// allowed. The sentences of a success are warnings.
    pub fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.destination.check()
    }
}

/// Names must be unique across the blocks of one configuration.
pub fn check_names(destinations: &[DestinationConfig]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    match destinations.iter().find(|d| !seen.insert(d.name.as_str())) {
        Some(twice) => Err(ConfigError::Duplicate(twice.name.clone())),
        None => Ok(()),
    }
}

impl TryFrom<Raw> for DestinationConfig {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let (name, min_severity, mut found) = raw.into_parts();
        match found.len() {
            0 => Err(ConfigError::NoKind { name }),
            1 => DestinationConfig::new(name, min_severity, found.remove(0)),
            _ => Err(ConfigError::SeveralKinds {
                name,
                found: found.iter().map(|d| d.kind()).collect(),
            }),
        }
    }
}
