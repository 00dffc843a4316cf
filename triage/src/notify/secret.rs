//! Secrets by reference: `{ env = "NAME" }` or `{ file = "/path" }`, read at the moment of use.
//!
//! A secret written into the configuration itself is accepted with a warning, and is as invisible as the others.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use super::config::ConfigError;
use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

/// Longest secret file that is read, in bytes; a key or a webhook address is far shorter.
const SECRET_FILE_LIMIT_BYTES: u64 = 64 * 1024;

/// Where a secret is found. `Debug` names the place and never the secret.
#[derive(Clone)]
pub struct SecretSource(Place);

#[derive(Clone)]
enum Place {
    Env(String),
    File(PathBuf),
    Inline(SecretString),
}

/// Why a secret could not be read. Names the place, never the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable does not exist in the environment of this process.
    #[error("the environment variable {0} is not set; set it for the service that runs leakhound")]
    EnvMissing(String),
    /// The variable exists and is not text.
    #[error("the environment variable {0} is not valid UTF-8")]
    EnvNotText(String),
    /// The file could not be read.
    #[error("the secret file {path} cannot be read: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The file is longer than any secret.
    #[error(
        "the secret file {0} is longer than {SECRET_FILE_LIMIT_BYTES} bytes; is it the right file?"
    )]
    TooLong(PathBuf),
    /// Nothing but white space.
    #[error("the secret in {0} is empty")]
    Empty(String),
}

impl SecretSource {
    /// A secret held in an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        SecretSource(Place::Env(name.into()))
    }

    /// A secret held in a file, as systemd credentials and Kubernetes secrets are.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        SecretSource(Place::File(path.into()))
    }

    /// A secret held in memory, for programs that make one up; from a configuration file it earns a warning.
    pub fn inline(secret: impl Into<String>) -> Self {
        SecretSource(Place::Inline(SecretString::from(secret.into())))
    }

    /// Whether the secret itself was written where only a reference belongs.
    pub fn is_inline(&self) -> bool {
        matches!(self.0, Place::Inline(_))
    }

    /// Reads the secret now, so that a rotated file or variable counts from the next message on.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match &self.0 {
            Place::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => {
                    return Err(SecretError::EnvMissing(name.clone()));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SecretError::EnvNotText(name.clone()));
                }
            },
            Place::File(path) => {
                let failed = |error: std::io::Error| SecretError::File {
                    path: path.clone(),
                    error: error.to_string(),
                };
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(failed)?;
                let n_bytes = file
                    .take(SECRET_FILE_LIMIT_BYTES + 1)
                    .read_to_string(&mut text)
                    .map_err(failed)?;
                if n_bytes as u64 > SECRET_FILE_LIMIT_BYTES {
                    return Err(SecretError::TooLong(path.clone()));
                }
                text
            }
            Place::Inline(secret) => secret.expose_secret().to_owned(),
        };
        // Editors and `echo` end files with a newline that is no part of the secret.
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(SecretString::from(trimmed.to_owned()))
    }

    /// The same; an error names the key of the configuration.
    pub fn get(&self, key: &'static str) -> Result<SecretString, ConfigError> {
        self.read()
            .map_err(|error| ConfigError::Secret { key, error })
    }

    /// What a careful operator would want to know about where this secret lies.
    pub fn warning(&self, key: &str) -> Option<String> {
        match &self.0 {
            Place::Inline(_) => Some(format!(
                "{key} is written in clear in the configuration; move it to {{ env = \"…\" }} or {{ file = \"…\" }}"
            )),
            Place::File(path) => readable_by_all(path).then(|| {
                format!(
                    "{key}: {} is readable by every user; chmod 600 it",
                    path.display()
                )
            }),
            Place::Env(_) => None,
        }
    }
}

/// `Bearer` and a token.
pub(super) fn bearer(token: &SecretString) -> SecretString {
    format!("Bearer {}", token.expose_secret()).into()
}

/// Basic authentication (RFC 7617) of a name and a password.
pub(super) fn basic(user: &str, password: &SecretString) -> SecretString {
    let pair = format!("{user}:{}", password.expose_secret());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}").into()
}

#[cfg(unix)]
fn readable_by_all(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_path: &std::path::Path) -> bool {
    false
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Env(name) => write!(f, "environment variable {name}"),
            Place::File(path) => write!(f, "file {}", path.display()),
            Place::Inline(_) => f.write_str("the configuration itself"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: { env = \"NAME\" } or { file = \"/path\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Ok(SecretSource::inline(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        const KEYS: &[&str] = &["env", "file"];
        let mut found: Option<SecretSource> = None;
        while let Some(key) = map.next_key::<String>()? {
            let source = match key.as_str() {
                "env" => SecretSource::env(map.next_value::<String>()?),
                "file" => SecretSource::file(map.next_value::<PathBuf>()?),
                other => return Err(de::Error::unknown_field(other, KEYS)),
            };
            if found.replace(source).is_some() {
                return Err(de::Error::custom(
                    "a secret has one source: `env` or `file`, not both",
                ));
            }
        }
        found.ok_or_else(|| {
            de::Error::custom("a secret needs `env = \"NAME\"` or `file = \"/path\"`")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        key: SecretSource,
    }

    fn parse(text: &str) -> Result<SecretSource, String> {
        toml::from_str::<Holder>(text)
            .map(|h| h.key)
            .map_err(|e| e.message().to_owned())
    }

    #[test]
    fn a_reference_is_read_at_the_moment_of_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let source = parse(&format!("key = {{ file = {:?} }}", path)).unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "second");
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(source.read(), Err(SecretError::Empty(_))));
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(matches!(source.read(), Err(SecretError::TooLong(_))));
    }

    #[test]
    fn a_missing_place_is_named_and_nothing_else() {
        let error = SecretSource::env("LEAKHOUND_NO_SUCH_VARIABLE")
            .read()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("LEAKHOUND_NO_SUCH_VARIABLE is not set"),
            "{error}"
        );
        let error = SecretSource::file("/no/such/file").read().unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn debug_and_display_never_show_a_secret() {
        let source = parse("key = \"hunter2hunter2\"").unwrap();
        assert!(source.is_inline());
        assert!(!format!("{source:?} {source} {:?}", source.read()).contains("hunter2"));
        assert!(
            source
                .warning("teams.webhook")
                .unwrap()
                .contains("in clear")
        );
    }

    #[test]
    fn a_source_is_exactly_one_place() {
        assert!(
            parse("key = { env = \"A\", file = \"/b\" }")
                .unwrap_err()
                .contains("not both")
        );
        assert!(parse("key = {}").unwrap_err().contains("needs `env"));
        assert!(
            parse("key = { evn = \"A\" }")
                .unwrap_err()
                .contains("unknown field `evn`")
        );
        assert!(parse("key = 5").unwrap_err().contains("{ env = \"NAME\" }"));
    }
}
