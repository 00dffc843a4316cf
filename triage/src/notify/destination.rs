//! What every destination is: one trait, and the words for what came of an attempt.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

use super::address::Address;
use super::config::ConfigError;
use super::http::Http;
use super::message::Message;

/// An attempt under way.
pub type Attempt<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// One place that messages go to: the parsed configuration of one kind, which knows how to speak to it.
///
/// Secrets are read when they are used and never kept.
pub trait Destination: fmt::Debug + Send + Sync {
    /// The kind as the configuration names it, `slack`.
    fn kind(&self) -> &'static str;

    /// What the other side makes of the same key sent twice.
    fn repeat(&self) -> Repeat;

    /// Whether it keeps one entry for each incident, which every message about it must reach by itself.
    fn tells_stories(&self) -> bool {
        false
    }

    /// Where it lies, for a look at whether it can be reached.
    fn address(&self) -> Result<Address, ConfigError>;

    /// Everything that can be wrong without sending anything; the sentences are warnings.
    fn check(&self) -> Result<Vec<String>, ConfigError>;

    /// Sends one message. The future may be dropped at any moment; the outbox then treats the attempt as unanswered.
    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt>;

    /// After an attempt without an answer, for [`Repeat::Search`]: is the message there already?
    fn find<'a>(
        &'a self,
        _http: &'a Http,
        _parcel: &'a Parcel<'a>,
    ) -> Attempt<'a, Option<Receipt>> {
        Box::pin(async { Ok(None) })
    }
}

/// What happens when a message is sent twice because the first attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The other side recognizes the key: sending again is harmless.
    Harmless,
    /// The other side can be asked for the key first ([`Destination::find`]).
    Search,
    /// The other side would show it twice; the repeat says of itself that it is one.
    Visible,
}

/// One message on its way, with what an attempt needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// Idempotency key: the same for every attempt, different for every message and destination.
    pub key: &'a str,
    /// What to say.
    pub message: &'a Message,
    /// The other side's name for the message that opened the same incident: this one continues it.
    pub continues: Option<&'a str>,
    /// Whether an earlier attempt may have arrived.
    pub maybe_sent: bool,
    /// Time of this attempt.
    pub now: Timestamp,
}

/// How much a success proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The other side took the message and may still fail to show it (a Teams workflow that was started).
    Accepted,
    /// The other side says that the message is there.
    Confirmed,
}

/// What the other side answered, cut short and scrubbed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Status of HTTP, or reply code of SMTP.
    pub status: u16,
    /// Beginning of the body, in one line.
    pub text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "{} with an empty body", self.status),
            text => write!(f, "{} {text}", self.status),
        }
    }
}

/// A success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// How much it proves.
    pub proof: Proof,
    /// The other side's name for the message (event, workflow run, ticket), for support and for follow-ups.
    pub id: Option<String>,
    /// What the other side said.
    pub said: Said,
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// One sentence for people, scrubbed.
    pub reason: String,
    /// What the other side said, if it said anything.
    pub said: Option<Said>,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Not taken: try again, and not before this time has passed if the other side named one.
    Retry(Option<Duration>),
    /// No answer: the message may or may not have arrived.
    Ambiguous,
    /// Refused: the same message will be refused again.
    Permanent,
}

impl Failure {
    /// A failure before anything was said.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Failure {
            kind,
            reason: reason.into(),
            said: None,
        }
    }
}

/// Inside an attempt: a secret that is missing now may be there tomorrow.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::new(FailureKind::Retry(None), error.to_string())
    }
}
