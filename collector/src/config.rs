//! What an operator may say: `[[service]]`, `[capture]`, `[adopt]`.
//!
//! Unknown keys are refused, every value carries its unit, every default is documented at its field.
//! The whole file is a struct of the program; it holds these sections and is read with [`parse`], so that
//! every mistake in it is answered with file, line, caret, key and the nearest valid name.

mod adopt;
mod capture;
mod error;
mod service;
mod value;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

pub use adopt::{AdoptConfig, Original};
pub use capture::{CaptureConfig, MethodChoice};
pub use error::{ConfigError, Problem, Problems};
pub use service::{Kind, Match, RESERVED_NAMES, ServiceConfig, TriggerConfig};
pub use value::{CountLimit, Located, Pair, Pattern, Reserve, Size, Span};

/// The sections of the configuration that the collector works by.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The services to watch, in order: the first that matches a process owns it.
    pub service: Vec<ServiceConfig>,
    /// How dumps are taken.
    pub capture: CaptureConfig,
    /// Folders from which dumps of others are taken in.
    pub adopt: AdoptConfig,
}

/// Checks that need more than one value, or the language of triggers.
pub trait Check {
    /// Adds every problem found to `problems`.
    fn check(&self, problems: &mut Problems);
}

impl Check for Config {
    fn check(&self, problems: &mut Problems) {
        service::check_all(&self.service, problems);
        self.capture.check(problems);
        self.adopt.check(problems);
    }
}

/// Reads a configuration from its text; `file` is named in messages.
///
/// # Errors
/// The text is not TOML, has an unknown key, a value of the wrong type or unit, or a trigger that cannot be read.
pub fn parse<T: DeserializeOwned + Check>(text: &str, file: &Path) -> Result<T, ConfigError> {
    let mut problems = Problems::new(file, text);
    match read(text) {
        Ok(config) => {
            let config: T = config;
            config.check(&mut problems);
            if problems.is_empty() {
                return Ok(config);
            }
        }
        Err((key, error)) => problems.push_toml(&key, &error),
    }
    Err(problems.into())
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, (String, toml::de::Error)> {
    let deserializer = toml::Deserializer::parse(text).map_err(|e| (String::new(), e))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|e| (e.path().to_string(), e.into_inner()))
}

#[cfg(test)]
mod tests;
