//! An address of a destination: checked once, and shown by its host only, since the path of a webhook is its secret.

use std::fmt;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;

use super::config::ConfigError;
use super::scrub;
use super::secret::SecretSource;

/// Shorter parts of a request, such as `/inbox` or an API version, are no secrets and may be ordinary words.
pub(super) const SECRET_MIN_BYTES: usize = 12;
/// An address that may be spoken to: `https`, or `http` on this machine. Its `Debug` shows the host only.
#[derive(Clone)]
pub struct Address {
    url: Url,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The host and the port, never the path: paths of webhooks are secrets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            self.url.scheme(),
            self.url.host_str().unwrap_or("?")
        )?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Address {
    /// Opens a connection and closes it again; nothing is sent. Blocks for at most `patience` per address of the host.
    pub fn reach(&self, patience: Duration) -> Result<(), String> {
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_or_known_default().unwrap_or(443);
        let places = (host, port)
            .to_socket_addrs()
            .map_err(|error| format!("{self}: the name is not known here: {error}"))?;
        let mut last = format!("{self}: the name has no address");
        for place in places.take(4) {
            match TcpStream::connect_timeout(&place, patience) {
                Ok(_) => return Ok(()),
                Err(error) => last = format!("{self}: {error}"),
            }
        }
        Err(last)
    }

    /// Checks an address. The message never repeats it, since the address itself may be the secret.
    pub fn parse(text: &str) -> Result<Address, String> {
        let url = Url::parse(text.trim()).map_err(|error| format!("is not an address: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err("is an address without a host".into());
        }
        let loopback = is_this_machine(host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => {
                return Err(
                    "is http to another machine; use https (http is for loopback only)".into(),
                );
            }
            other => return Err(format!("starts with `{other}:`; use https")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user name or password before the host; remove it".into());
        }
        Ok(Address { url })
    }

    /// An address that stands in the configuration.
    pub fn given(text: &str, key: &'static str) -> Result<Address, ConfigError> {
        Address::parse(text).map_err(|problem| ConfigError::Value {
            key,
            problem: format!("the address {problem}"),
        })
    }

    /// A mail server.
    pub(super) fn mail(host: &str, port: u16, key: &'static str) -> Result<Address, ConfigError> {
        let url = Url::parse(&format!("smtp://{host}:{port}"));
        let url = url.ok().filter(|url| url.host_str().is_some());
        url.map(|url| Address { url })
            .ok_or_else(|| ConfigError::Value {
                key,
                problem: format!("expected the name of a mail server, found {host:?}"),
            })
    }

    /// Reads an address that is kept as a secret.
    pub fn read(source: &SecretSource, key: &'static str) -> Result<Address, ConfigError> {
        let secret = source.get(key)?;
        Address::parse(secret.expose_secret()).map_err(|problem| ConfigError::Value {
            key,
            problem: format!("the address in the {source} {problem}"),
        })
    }

    /// The address with path segments added, each percent-encoded as one segment.
    pub fn join(&self, segments: &[&str]) -> Address {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Address { url }
    }

    /// The address with these added to its query, each percent-encoded.
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> Address {
        let mut url = self.url.clone();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Address { url }
    }

    /// Plain http, which [`Address::parse`] lets through to this machine only.
    pub(super) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The whole address, secrets and all.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Hides path, query and the values in it wherever the other side echoes them.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let mut text = scrub::literal(text, self.url.as_str()).into_owned();
        let values: Vec<_> = self
            .url
            .query_pairs()
            .map(|(_, value)| value.into_owned())
            .collect();
        let pieces = [self.url.path(), self.url.query().unwrap_or_default()];
        for piece in pieces.into_iter().chain(values.iter().map(String::as_str)) {
            if piece.len() >= SECRET_MIN_BYTES {
                text = scrub::literal(&text, piece).into_owned();
            }
        }
        text
    }
}

/// Whether a host's name or number is that of the machine itself.
pub(super) fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_https_leaves_the_machine() {
        for good in [
            "https://example.com/x",
            "http://127.0.0.1:8080/",
            "http://[::1]/x",
            "http://localhost:1/",
        ] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://example.com/secret", "use https"),
            ("http://127.0.0.1.example.com/secret", "use https"),
            ("http://localhost.example.com/secret", "use https"),
            ("ftp://example.com/secret", "`ftp:`"),
            ("https://user:secret@example.com/", "before the host"),
            ("secret", "is not an address"),
            ("file:///secret", "without a host"),
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_address_shows_its_host_only() {
        let address = Address::parse(
            "https://example.com:8443/T0001/B0002/a1b2c3d4e5f6?sig=0123456789abcdef",
        )
        .unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "https://example.com:8443 Address(https://example.com:8443)"
        );
        assert_eq!(
            address.hide_in("no /T0001/B0002/a1b2c3d4e5f6 here, sig=0123456789abcdef"),
            "no *** here, ***"
        );
    }

    #[test]
    fn path_segments_are_encoded_one_by_one() {
        let address = Address::parse("https://example.com/base/")
            .unwrap()
            .join(&["rooms", "!a/b:c", "x?y"]);
        assert_eq!(address.url.path(), "/base/rooms/!a%2Fb:c/x%3Fy");
    }
}
