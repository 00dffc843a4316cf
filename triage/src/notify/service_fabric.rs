//! Health of a service in Service Fabric: a warning on the service for as long as an incident lasts.
//!
//! A warning, never an error: an error would stop monitored upgrades and may roll them back. Each incident has a property of its
//! own, so that the end of one does not clear another; reports expire by themselves, should nobody be left to clear them.

use leakhound_rules::Millis;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Parcel, Proof, Receipt, Repeat, Said};
use super::document::fitted;
use super::gateway::{Gateway, Names};
use super::http::{Http, Request, json_body};
use super::message::Message;
use super::pinned::Thumbprint;
use super::secret::SecretSource;
use super::ticket::{Ticket, is_over};

/// Service Fabric cuts longer descriptions.
const DESCRIPTION_CHARS: usize = 4_000;
/// What names of services begin with.
const SCHEME: &str = "fabric:/";

/// `service_fabric = { gateway = "https://localhost:19080", certificate = { file = "…" }, servers = ["…"] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceFabric {
    /// Address of the cluster's HTTP gateway.
    pub gateway: String,
    /// Client certificate with its chain, and its key, as PEM; the cluster must know it as one of an administrator.
    pub certificate: Option<SecretSource>,
    /// Key of the certificate, where it lies apart.
    pub key: Option<SecretSource>,
    /// Access token, in place of a certificate.
    pub token: Option<SecretSource>,
    /// Thumbprints of the gateway's certificate; without any, the trust store of the system and the host name decide.
    #[serde(default)]
    pub servers: Vec<Thumbprint>,
    /// How long a warning lasts that nobody renews.
    #[serde(default = "day")]
    pub expires: Millis,
}

fn day() -> Millis {
    Millis(24 * 3_600_000)
}

const NAMES: Names = Names {
    gateway: "service_fabric.gateway",
    certificate: "service_fabric.certificate",
    key: "service_fabric.key",
    token: "service_fabric.token",
};

impl ServiceFabric {
    fn gateway(&self) -> Gateway<'_> {
        Gateway {
            address: &self.gateway,
            certificate: self.certificate.as_ref(),
            key: self.key.as_ref(),
            token: self.token.as_ref(),
            servers: &self.servers,
            names: &NAMES,
        }
    }
}

impl Destination for ServiceFabric {
    fn kind(&self) -> &'static str {
        "service_fabric"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmless
    }

    fn tells_stories(&self) -> bool {
        true
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.gateway().address()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.gateway().client(&Http::default())?;
        self.gateway().headers()?;
        if self.expires.0 < 60_000 {
            return Err(ConfigError::Value {
                key: "service_fabric.expires",
                problem: format!("{} is too short; give at least `1 min`", self.expires),
            });
        }
        Ok(self.gateway().warnings())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let service = parcel.message.context.service.as_str();
            let Some(id) = service_id(service) else {
                return Ok(nothing(service));
            };
            let path = ["Services", id.as_str(), "$", "ReportHealth"];
            let query = [("api-version", "6.0"), ("Immediate", "true")];
            let address = self.address()?.join(&path).with_query(&query);
            let report = report(parcel.message, parcel.key, self.expires);
            let request = Request {
                method: Method::POST,
                client: self.gateway().client(http)?,
                headers: self.gateway().headers()?,
                ..Request::post(address, json_body(&report))
            };
            let reply = http.exchange(request, parcel.now).await?;
            // A report of the same property takes the place of the one before.
            reply.success_by_key()?;
            Ok(reply.confirmed(None))
        })
    }
}

/// `fabric:/Shop/Cart` as a path names it: `Shop~Cart`.
fn service_id(service: &str) -> Option<String> {
    let name = service.strip_prefix(SCHEME)?;
    (!name.is_empty()).then(|| name.replace('/', "~"))
}

fn nothing(service: &str) -> Receipt {
    Receipt {
        proof: Proof::Confirmed,
        id: None,
        said: Said {
            status: 200,
            text: format!("nothing was asked: `{service}` is no service of Service Fabric"),
        },
    }
}

/// The health report of a message.
#[must_use]
pub fn report(message: &Message, key: &str, expires: Millis) -> Value {
    let over = is_over(message);
    let description = fitted(message, Message::text, |text| {
        text.chars().count() <= DESCRIPTION_CHARS
    });
    json!({
        "SourceId": "Leakhound",
        "Property": Ticket::of(message, key).label,
        "HealthState": if over { "Ok" } else { "Warning" },
        // A duration of ISO 8601, whatever the name says. What is over need not be remembered for long.
        "TimeToLiveInMilliSeconds": if over { "PT5M".to_owned() } else { format!("PT{}S", expires.0 / 1000) },
        "RemoveWhenExpired": true,
        "Description": description,
    })
}
