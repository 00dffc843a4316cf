//! How the HTTP gateway of a Service Fabric cluster is reached: a client certificate or a token for us, thumbprints for the gateway.

use secrecy::{ExposeSecret, SecretString};

use super::address::Address;
use super::config::ConfigError;
use super::http::Http;
use super::pinned::{self, Thumbprint};
use super::secret::{SecretSource, bearer};

/// A gateway as a section of the configuration describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gateway<'a> {
    pub address: &'a str,
    pub certificate: Option<&'a SecretSource>,
    pub key: Option<&'a SecretSource>,
    pub token: Option<&'a SecretSource>,
    pub servers: &'a [Thumbprint],
    pub names: &'static Names,
}

/// What its keys are called in that section.
#[derive(Debug)]
pub(super) struct Names {
    pub gateway: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
    pub token: &'static str,
}

/// Headers of a request; every value is a secret.
pub(super) type Headers = Vec<(&'static str, SecretString)>;

impl Gateway<'_> {
    pub fn address(&self) -> Result<Address, ConfigError> {
        Address::given(self.address, self.names.gateway)
    }

    /// The token, where one is given.
    pub fn headers(&self) -> Result<Headers, ConfigError> {
        let token = self
            .token
            .map(|token| token.get(self.names.token))
            .transpose()?;
        Ok(token
            .iter()
            .map(|token| ("authorization", bearer(token)))
            .collect())
    }

    fn identity(&self) -> Result<Option<SecretString>, ConfigError> {
        let Some(certificate) = self.certificate else {
            return Ok(None);
        };
        let mut pem = certificate
            .get(self.names.certificate)?
            .expose_secret()
            .to_owned();
        if let Some(key) = self.key {
            pem.push('\n');
            pem.push_str(key.get(self.names.key)?.expose_secret());
        }
        Ok(Some(pem.into()))
    }

    /// A client of its own, where the common one does not do. Read anew each time: certificates are renewed.
    pub fn client(&self, http: &Http) -> Result<Option<reqwest::Client>, ConfigError> {
        let identity = self.identity()?;
        if identity.is_none() && self.servers.is_empty() {
            return Ok(None);
        }
        if self.address()?.is_plain() {
            return Err(ConfigError::Value {
                key: self.names.gateway,
                problem: "with `certificate` or `servers` the address must begin with https://, or neither side would be known to the other".to_owned(),
            });
        }
        pinned::client(http, identity.as_ref(), self.servers)
            .map(Some)
            .map_err(|problem| ConfigError::Value {
                key: self.names.certificate,
                problem,
            })
    }

    /// What could be safer.
    pub fn warnings(&self) -> Vec<String> {
        let secrets = [
            (self.names.certificate, self.certificate),
            (self.names.key, self.key),
            (self.names.token, self.token),
        ];
        secrets
            .into_iter()
            .filter_map(|(key, secret)| secret?.warning(key))
            .collect()
    }
}
