//! The one HTTP client of delivery: bounded replies, no redirects, time limits, and errors that say what they mean.
//!
//! The network is reached in two ways. Plain `http` goes to this machine only, without a proxy and without TLS; everything
//! else is `https`, through the proxy of the environment if there is one, with the trust store of the system. The second
//! client is built when it is first needed: a machine without a trust store can still deliver to itself.

use std::error::Error as _;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method};
use secrecy::{ExposeSecret, SecretString};

use super::address::{Address, SECRET_MIN_BYTES};
use super::destination::{Failure, FailureKind, Proof, Receipt, Said};
use super::scrub;

/// How much of a reply is read; chat systems answer in a line.
pub const REPLY_LIMIT_BYTES: usize = 64 * 1024;

/// The usual kind of body.
pub const JSON: &str = "application/json; charset=utf-8";

/// How much of a reply is shown to people.
const SHOWN_CHARS: usize = 300;

/// The longest pause that another system may ask for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// Time limits of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// Until the reply is read to its end.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(30),
        }
    }
}

/// The client. Cheap to share by reference; one for the whole program.
pub struct Http {
    limits: Limits,
    loopback: OnceLock<Result<Client, String>>,
    outside: OnceLock<Result<Client, String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Default for Http {
    fn default() -> Self {
        Http::new(Limits::default())
    }
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub address: Address,
    /// `GET`, `POST` or `PUT`.
    pub method: Method,
    /// Headers; every value is treated as a secret.
    pub headers: Vec<(&'static str, SecretString)>,
    /// JSON; may be empty.
    pub body: Vec<u8>,
    /// Secrets in the body, which an error page may repeat.
    pub hidden: Vec<SecretString>,
    /// What kind of body it is.
    pub content_type: &'static str,
    /// How much of the reply is read.
    pub reply_limit_bytes: usize,
    /// A client that knows certificates of its own, in place of the common one.
    pub client: Option<Client>,
}

impl Request {
    /// A POST of JSON.
    pub fn post(address: Address, body: Vec<u8>) -> Self {
        Request {
            address,
            method: Method::POST,
            headers: Vec::new(),
            body,
            hidden: Vec::new(),
            content_type: JSON,
            reply_limit_bytes: REPLY_LIMIT_BYTES,
            client: None,
        }
    }
}

/// A body of JSON; empty where there is nothing to say (`null`).
pub fn json_body(body: &serde_json::Value) -> Vec<u8> {
    match body {
        serde_json::Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    }
}

/// What came back: a status, a few headers, and the beginning of the body.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body up to [`Request::reply_limit_bytes`], with what is not UTF-8 replaced.
    pub body: String,
    /// Whether the body went on.
    pub truncated: bool,
    headers: HeaderMap,
    shown: String,
    now: Timestamp,
}

impl Reply {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The reply for people.
    pub fn said(&self) -> Said {
        Said {
            status: self.status,
            text: self.shown.clone(),
        }
    }

    /// How long the other side wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        let server_now = self.header("date").and_then(parse_http_date);
        self.header("retry-after")
            .and_then(|text| parse_retry_after(text, server_now.unwrap_or(self.now)))
    }

    /// The body as JSON. What is none was said by something else than the system that was asked: a proxy, a portal.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.body).map_err(|error| {
            let cut = if self.truncated {
                " (its end was cut off)"
            } else {
                ""
            };
            let reason = format!("expected JSON, found {}{cut}: {error}", self.said());
            self.failure(FailureKind::Retry(None), reason)
        })
    }

    /// A receipt with the other side's name for what was made; without a name the reply proves nothing.
    pub fn receipt(&self, id: Option<&str>) -> Result<Receipt, Failure> {
        match id.filter(|id| !id.is_empty()) {
            Some(id) => Ok(self.confirmed(Some(id))),
            None => {
                let reason = format!("the reply names no ticket: {}", self.said());
                Err(self.failure(FailureKind::Ambiguous, reason))
            }
        }
    }

    /// This reply, unless its status means a failure.
    pub fn success(self) -> Result<Reply, Failure> {
        match self.failure_by_status() {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }

    /// A failure with this reply as its reason.
    pub fn failure(&self, kind: FailureKind, reason: impl Into<String>) -> Failure {
        Failure {
            kind,
            reason: reason.into(),
            said: Some(self.said()),
        }
    }

    /// The same for a system that recognizes the key of a message: repeating is harmless, so an answer that was lost on the way is
    /// simply no success.
    pub fn success_by_key(&self) -> Result<(), Failure> {
        match self.failure_by_status() {
            Some(failure) if failure.kind == FailureKind::Ambiguous => Err(Failure {
                kind: FailureKind::Retry(self.retry_after()),
                ..failure
            }),
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// The message is there, under this name.
    pub fn confirmed(&self, id: Option<&str>) -> Receipt {
        Receipt {
            proof: Proof::Confirmed,
            id: id.map(|id| super::message::clean(id, 255)),
            said: self.said(),
        }
    }

    /// Something else than the system that was asked has answered: a proxy, a portal.
    pub fn stranger(&self, expected: &str) -> Failure {
        let reason = format!(
            "{expected}; this reply is from something else: {}",
            self.said()
        );
        self.failure(FailureKind::Retry(None), reason)
    }

    /// What a status means where the destination has no better knowledge; `None` for 2xx.
    pub fn failure_by_status(&self) -> Option<Failure> {
        let said = self.said();
        let (kind, reason) = match self.status {
            200..=299 => return None,
            300..=399 => (
                FailureKind::Permanent,
                format!("redirected ({said}); put the final address in the configuration"),
            ),
            408 | 425 | 429 | 503 => (
                FailureKind::Retry(self.retry_after()),
                format!("asked to come back later: {said}"),
            ),
            // A gateway that lost the answer cannot say whether the system behind it acted.
            502 | 504 => (FailureKind::Ambiguous, format!("a gateway answered {said}")),
            500..=599 => (
                FailureKind::Retry(self.retry_after()),
                format!("failed on the other side: {said}"),
            ),
            401 | 403 => (
                FailureKind::Permanent,
                format!("not allowed: {said}; check the secret"),
            ),
            404 | 410 => (
                FailureKind::Permanent,
                format!("nobody there: {said}; check the address"),
            ),
            413 => (
                FailureKind::Permanent,
                format!("too large for the other side: {said}"),
            ),
            _ => (FailureKind::Permanent, format!("refused: {said}")),
        };
        Some(self.failure(kind, reason))
    }
}

impl Http {
    /// A client with these limits. Nothing is opened yet.
    pub fn new(limits: Limits) -> Self {
        Http {
            limits,
            loopback: OnceLock::new(),
            outside: OnceLock::new(),
        }
    }

    /// The time limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn client(&self, loopback: bool) -> Result<&Client, Failure> {
        let (cell, what) = if loopback {
            (&self.loopback, "HTTP")
        } else {
            (&self.outside, "HTTPS")
        };
        cell.get_or_init(|| self.build(loopback))
            .as_ref()
            .map_err(|why| {
                // Retried, not dropped: installing ca-certificates and restarting makes the message go out.
                Failure::new(FailureKind::Retry(None), format!("no {what} client: {why}"))
            })
    }

    /// What every client keeps to.
    pub(super) fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("leakhound/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.total)
            .pool_idle_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(1)
    }

    fn build(&self, loopback: bool) -> Result<Client, String> {
        let builder = self.builder();
        let builder = if loopback {
            // No certificate is ever looked at on this client, so it must not need a trust store.
            builder.no_proxy().tls_certs_only(std::iter::empty())
        } else {
            builder.https_only(true)
        };
        builder.build().map_err(|error| {
            let why = chain(&error);
            if why.contains("No CA certificates") {
                "this machine has no trusted certificates; install the package ca-certificates, or name a file with \
                 SSL_CERT_FILE"
                    .to_owned()
            } else {
                why
            }
        })
    }

    /// Sends one request and reads the reply, up to the limits.
    pub async fn exchange(&self, request: Request, now: Timestamp) -> Result<Reply, Failure> {
        let Request {
            address,
            method,
            headers,
            body,
            hidden,
            content_type,
            reply_limit_bytes,
            client,
        } = request;
        let client = match &client {
            Some(client) => client,
            None => self.client(address.is_plain())?,
        };
        let mut map = HeaderMap::with_capacity(headers.len() + 1);
        map.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static(content_type),
        );
        // `Bearer TOKEN`: it is the token that an error page would repeat.
        let last_word = |value: &SecretString| {
            let word = value.expose_secret().rsplit(' ').next();
            SecretString::from(word.unwrap_or_default().to_owned())
        };
        let sent_secrets: Vec<SecretString> = headers
            .iter()
            .map(|(_, value)| last_word(value))
            .chain(hidden)
            .collect();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| {
                Failure::new(
                    FailureKind::Permanent,
                    format!("the {name} header would hold control characters"),
                )
            })?;
            value.set_sensitive(true);
            map.insert(HeaderName::from_static(name), value);
        }
        let started = Instant::now();
        let sent = client
            .request(method, address.url().clone())
            .headers(map)
            .body(body)
            .send()
            .await;
        let mut response = sent.map_err(|error| network(error, &address, started))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut bytes = Vec::new();
        let mut truncated = false;
        // The status is the answer: a body that breaks off or never ends changes nothing about it.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = reply_limit_bytes - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                truncated = true;
                break;
            }
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let mut shown = address.hide_in(&body);
        for secret in &sent_secrets {
            if secret.expose_secret().len() >= SECRET_MIN_BYTES {
                shown = scrub::literal(&shown, secret.expose_secret()).into_owned();
            }
        }
        let shown = one_line(&shown);
        Ok(Reply {
            status,
            body,
            truncated,
            headers,
            shown,
            now,
        })
    }
}

fn network(error: reqwest::Error, address: &Address, started: Instant) -> Failure {
    let error = error.without_url();
    let seconds = started.elapsed().as_secs_f64();
    let why = chain(&error);
    if error.is_connect() {
        return Failure::new(
            FailureKind::Retry(None),
            format!("cannot reach {address}: {why}"),
        );
    }
    if error.is_builder() {
        return Failure::new(
            FailureKind::Permanent,
            format!("cannot ask {address}: {why}"),
        );
    }
    if error.is_timeout() {
        return Failure::new(
            FailureKind::Ambiguous,
            format!("no answer from {address} within {seconds:.0} s"),
        );
    }
    Failure::new(
        FailureKind::Ambiguous,
        format!("the connection to {address} broke before it answered: {why}"),
    )
}

/// The innermost cause says what happened; the outer ones only where.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut innermost = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        innermost = cause.to_string();
        source = cause.source();
    }
    one_line(&innermost)
}

/// Text of another system for people: scrubbed, in one line, short, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let scrubbed = scrub::text(text);
    let mut line = String::new();
    let mut n_chars = 0;
    for word in scrubbed
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if n_chars > 0 {
            line.push(' ');
            n_chars += 1;
        }
        for c in word.chars() {
            if n_chars == SHOWN_CHARS {
                line.push('…');
                return line;
            }
            line.push(c);
            n_chars += 1;
        }
    }
    line
}

/// `Retry-After`: seconds, also with a fraction, or a date; at most [`LONGEST_WAIT`].
pub(crate) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => {
            let until = parse_http_date(text)?;
            Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The three forms of RFC 9110 §5.6.7: IMF-fixdate, RFC 850 and asctime.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = jiff::fmt::rfc2822::parse(text) {
        return Some(date.timestamp());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| {
            let date = jiff::civil::DateTime::strptime(format, text).ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
                .map(|zoned| zoned.timestamp())
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_a_cap() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let cases = [
            ("120", Some(120.0)),
            (" 0 ", Some(0.0)),
            ("1.5", Some(1.5)),
            ("999999999999", Some(LONGEST_WAIT.as_secs_f64())),
            ("-5", None),
            ("NaN", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37.0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37.0)),
            ("Sun Nov  6 08:49:37 1994", Some(37.0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            (
                "Fri, 06 Nov 2099 08:00:00 GMT",
                Some(LONGEST_WAIT.as_secs_f64()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_retry_after(text, now).map(|d| d.as_secs_f64()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn foreign_text_becomes_one_short_clean_line() {
        assert_eq!(one_line(" a\r\n\tb\u{7}c  "), "a b c");
        assert_eq!(one_line(&"x".repeat(5000)).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(
            one_line("{\"error\":\"Password=abc;\"}"),
            "{\"error\":\"Password=***;\"}"
        );
    }
}
