//! Any HTTP receiver, signed by the convention of Standard Webhooks.
//!
//! `webhook-id` is the idempotency key, the same in every attempt; `webhook-timestamp` is the time of the attempt;
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, once for each secret, so that a
//! secret is changed by adding the new one, changing the receiver, and removing the old one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;

/// Shorter keys can be guessed; the convention asks for 24 bytes and more.
const KEY_MIN_BYTES: usize = 16;
/// One secret in use and one on its way in or out, with room for a mistake.
const SECRETS_LIMIT: usize = 4;

/// `webhook = { url = "https://…", secret = { env = "…" } }`, or `secrets = [{ … }, { … }]` while one is replaced.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Webhook {
    /// Where to; may be a secret itself.
    pub url: SecretSource,
    /// Keys to sign with; the first is the one to keep.
    pub secrets: Vec<SecretSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: SecretSource,
    secret: Option<SecretSource>,
    #[serde(default)]
    secrets: Vec<SecretSource>,
}

impl TryFrom<Raw> for Webhook {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let secrets: Vec<SecretSource> = raw.secret.into_iter().chain(raw.secrets).collect();
        match secrets.len() {
            0 => Err("a webhook needs `secret = { env = \"…\" }`: receivers must be able to tell who wrote".into()),
            1..=SECRETS_LIMIT => Ok(Webhook { url: raw.url, secrets }),
            n => Err(format!("a webhook signs with at most {SECRETS_LIMIT} secrets; found {n}")),
        }
    }
}

impl Webhook {
    fn keys(&self) -> Result<Vec<Key>, ConfigError> {
        let key = "webhook.secret";
        self.secrets
            .iter()
            .map(|source| {
                let secret = source.get(key)?;
                Key::parse(&secret).map_err(|problem| ConfigError::Value {
                    key,
                    problem: format!("the secret in the {source} {problem}"),
                })
            })
            .collect()
    }
}

impl Destination for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.url, "webhook.url")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        Address::read(&self.url, "webhook.url")?;
        self.keys()?;
        // An address in clear is ordinary here: what protects this destination is the signature.
        Ok(self
            .secrets
            .iter()
            .filter_map(|secret| secret.warning("webhook.secret"))
            .collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let address = Address::read(&self.url, "webhook.url")?;
            let keys = self.keys()?;
            let body = payload(parcel.message).to_string().into_bytes();
            let mut request = Request::post(address, body);
            request.headers = headers(&keys, parcel.key, parcel.now, &request.body);
            judge(&http.exchange(request, parcel.now).await?)
        })
    }
}

/// A key to sign with.
pub struct Key(secrecy::SecretSlice<u8>);

impl Key {
    /// `whsec_` and base64, as the convention writes keys; any other text is taken byte for byte.
    pub fn parse(secret: &SecretString) -> Result<Key, String> {
        let text = secret.expose_secret();
        let bytes = match text.strip_prefix("whsec_") {
            Some(encoded) => BASE64
                .decode(encoded)
                .map_err(|_| "begins with `whsec_` and does not go on as base64".to_owned())?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < KEY_MIN_BYTES {
            return Err(format!(
                "has {} bytes; a key needs at least {KEY_MIN_BYTES}",
                bytes.len()
            ));
        }
        Ok(Key(bytes.into()))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret())
            .expect("HMAC takes keys of every length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }

    /// `v1,` and the signature.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!(
            "v1,{}",
            BASE64.encode(self.mac(id, timestamp, body).finalize().into_bytes())
        )
    }

    /// Whether one of the signatures of the header is this key's; compared in constant time.
    #[must_use]
    pub fn verify(&self, id: &str, timestamp: &str, body: &[u8], header: &str) -> bool {
        header
            .split(' ')
            .filter_map(|one| one.strip_prefix("v1,"))
            .filter_map(|text| BASE64.decode(text).ok())
            .any(|signature| {
                self.mac(id, timestamp, body)
                    .verify_slice(&signature)
                    .is_ok()
            })
    }
}

fn headers(
    keys: &[Key],
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Vec<(&'static str, SecretString)> {
    let timestamp = now.as_second().to_string();
    let signatures: Vec<String> = keys
        .iter()
        .map(|key| key.sign(id, &timestamp, body))
        .collect();
    vec![
        ("webhook-id", id.to_owned().into()),
        ("webhook-timestamp", timestamp.into()),
        ("webhook-signature", signatures.join(" ").into()),
    ]
}

/// The body: type, time and data, as the convention has it. The same in every attempt.
#[must_use]
pub fn payload(message: &Message) -> Value {
    let context = &message.context;
    json!({
        "type": if message.sample { "leakhound.test" } else { "leakhound.diagnosis" },
        "timestamp": context.at,
        "data": {
            "service": context.service,
            "node": context.node,
            "pid": context.pid,
            "captured_at": context.at,
            "process_started": context.process_started,
            "first_seen": context.first_seen,
            "incident": context.incident,
            "trigger": context.trigger,
            "bundle": context.bundle,
            "link": context.link,
            "severity": message.severity,
            "fingerprint": message.fingerprint(),
            "title": message.title(),
            "text": message.text(),
            "diagnosis": message.diagnosis,
            "omitted": message.omitted,
        },
    })
}

/// What a reply means: any 2xx is a receipt, 410 tells us to stop, by the convention.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    // The receiver recognizes the key.
    reply.success_by_key()?;
    Ok(reply.confirmed(None))
}
