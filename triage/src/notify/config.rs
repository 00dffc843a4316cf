//! `[[notify]]` blocks: a name, what reaches it and when, and exactly one kind of destination.

use std::collections::BTreeSet;
use std::sync::Arc;

use leakhound_rules::Severity;
use serde::Deserialize;

use super::destination::Destination;
use super::message::Message;
use super::registry::{KINDS, Raw};
use super::route::Route;
use super::secret::SecretError;
use super::template::Template;

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
    /// Which of the others are, and when.
    pub route: Route,
    /// Words in place of the usual ones.
    pub template: Option<Template>,
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
            route: Route::default(),
            template: None,
            destination,
        })
    }

    /// The message in the words that this destination is to use.
    #[must_use]
    pub fn dress(&self, message: &Message) -> Message {
        match &self.template {
            // A digest has words already.
            Some(template) if message.words.is_none() => template.apply(message),
            _ => message.clone(),
        }
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
        let (block, mut found) = raw.into_parts();
        let name = block.name;
        let destination = match found.len() {
            0 => return Err(ConfigError::NoKind { name }),
            1 => found.remove(0),
            _ => {
                let found = found.iter().map(|d| d.kind()).collect();
                return Err(ConfigError::SeveralKinds { name, found });
            }
        };
        if block.route.digest.is_some() && destination.tells_stories() {
            let kind = destination.kind();
            return Err(ConfigError::Value {
                key: "digest",
                problem: format!(
                    "`{name}` ({kind}) keeps one entry for each incident; a digest of several has no place there"
                ),
            });
        }
        let template = block.template.as_deref().map(Template::load).transpose()?;
        Ok(DestinationConfig {
            route: block.route,
            template,
            ..DestinationConfig::new(name, block.min_severity, destination)?
        })
    }
}
