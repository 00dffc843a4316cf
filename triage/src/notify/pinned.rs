//! A client that shows a certificate of its own, and knows the server's by its thumbprint.
//!
//! Clusters use certificates that no authority signed or whose names are not the host's: whoever holds the key of the named
//! certificate is the server, and nobody else is.

use std::fmt;
use std::sync::Arc;

use reqwest::Client;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::Error as _;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::http::Http;

/// Digest of a certificate: SHA-1, as Windows shows it, or SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Thumbprint(Vec<u8>);

impl Thumbprint {
    /// Forty or sixty-four hexadecimal digits; blanks and colons between them are passed over.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Copied from Windows, it begins with an invisible mark.
        let between = |c: &char| c.is_whitespace() || *c == ':' || *c == '\u{200e}';
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| !between(c))
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match digits {
            Some(digits) if matches!(digits.len(), 40 | 64) => {
                let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
                Ok(Thumbprint(bytes.collect()))
            }
            _ => Err(format!(
                "expected a thumbprint of 40 (SHA-1) or 64 (SHA-256) hexadecimal digits, found {text:?}"
            )),
        }
    }

    fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        match self.0.len() {
            20 => Sha1::digest(certificate.as_ref())[..] == self.0[..],
            _ => Sha256::digest(certificate.as_ref())[..] == self.0[..],
        }
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Thumbprint::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A client that shows `identity` (a certificate with its chain, and its key, as PEM) and speaks to the holder of one of these
/// certificates only; with none named, to whom the system trusts.
///
/// # Errors
/// The identity cannot be read. The message does not repeat it.
pub fn client(
    http: &Http,
    identity: Option<&SecretString>,
    servers: &[Thumbprint],
) -> Result<Client, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = http.builder().https_only(true);
    let builder = if servers.is_empty() {
        match identity {
            None => builder,
            Some(pem) => builder.identity(
                reqwest::Identity::from_pem(pem.expose_secret().as_bytes())
                    .map_err(|_| UNREADABLE.to_owned())?,
            ),
        }
    } else {
        let verifier = Arc::new(Pinned {
            servers: servers.to_vec(),
            provider,
        });
        let config = config
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let (chain, key) = parts(pem)?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the certificate does not fit its key: {error}"))?
            }
        };
        builder.tls_backend_preconfigured(config)
    };
    builder.build().map_err(|error| super::http::chain(&error))
}

const UNREADABLE: &str = "expected a certificate and its key as PEM (-----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----)";

fn parts(
    pem: &SecretString,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let bytes = pem.expose_secret().as_bytes();
    let chain = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(bytes);
    match (chain, key) {
        (Ok(chain), Ok(key)) if !chain.is_empty() => Ok((chain, key)),
        _ => Err(UNREADABLE.to_owned()),
    }
}

/// Takes one of these certificates and no other. That the server holds its key is proved by the handshake as ever.
#[derive(Debug)]
struct Pinned {
    servers: Vec<Thumbprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.servers.iter().any(|server| server.is_of(end_entity)) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(TlsError::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
