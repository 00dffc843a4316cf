//! What ticket systems have in common: one open ticket for each cause and service, found again by its label, carried on by
//! comments.
//!
//! A ticket is looked for before one is made, so that what another node or an earlier life of this program opened is carried on.
//! After an attempt without an answer it is looked for again, never made blindly.

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Proof, Receipt, Repeat, Said};
use super::document::{Document, fitted, truncate};
use super::http::{Http, Reply, Request, json_body};
use super::message::{Message, Turn};
use crate::incidents::id_of;
use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;
use std::fmt;

/// One ticket system. What implements it is a [`Destination`].
pub trait Tracker: fmt::Debug + Send + Sync {
    /// The kind as the configuration names it.
    const KIND: &'static str;

    /// Where its interface begins.
    fn api(&self) -> Result<Address, ConfigError>;

    /// Headers of every request: who asks, and what else the system wants to see.
    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError>;

    /// Secrets that an error page may show in another form than the headers have them.
    fn hidden(&self) -> Result<Vec<SecretString>, ConfigError> {
        Ok(Vec::new())
    }

    /// Everything that can be wrong without asking anything; the sentences are warnings.
    fn verify(&self) -> Result<Vec<String>, ConfigError>;

    /// What its answers mean where it knows better than their status.
    fn judge(&self, reply: Reply) -> Result<Reply, Failure> {
        reply.success()
    }

    /// The open ticket that bears `label`, if there is one.
    fn open(
        &self,
        line: &Line<'_>,
        label: &str,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send;

    /// Makes a ticket; the receipt names it.
    fn create(
        &self,
        line: &Line<'_>,
        ticket: &Ticket<'_>,
    ) -> impl Future<Output = Result<Receipt, Failure>> + Send;

    /// Adds to a ticket; the receipt names the ticket, not the comment.
    fn comment(
        &self,
        line: &Line<'_>,
        id: &str,
        ticket: &Ticket<'_>,
    ) -> impl Future<Output = Result<Receipt, Failure>> + Send;

    /// Whether one of the latest comments of a ticket bears this key.
    fn mentions(
        &self,
        line: &Line<'_>,
        id: &str,
        key: &str,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;
}

impl<T: Tracker> Destination for T {
    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn tells_stories(&self) -> bool {
        true
    }

    fn address(&self) -> Result<Address, ConfigError> {
        self.api()
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.api()?;
        self.headers()?;
        self.verify()
    }

    /// A comment where the ticket is open, a new ticket otherwise.
    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let line = Line::of(http, parcel);
            let ticket = Ticket::of(parcel.message, parcel.key);
            match ticket_of(self, &line, parcel, &ticket).await? {
                Some(id) => self.comment(&line, &id, &ticket).await,
                None if is_over(parcel.message) => Ok(receipt(
                    None,
                    "it is over, and no ticket is open: nothing to be said",
                )),
                None => self.create(&line, &ticket).await,
            }
        })
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        Box::pin(async move {
            let line = Line::of(http, parcel);
            let ticket = Ticket::of(parcel.message, parcel.key);
            let Some(id) = ticket_of(self, &line, parcel, &ticket).await? else {
                return Ok(None);
            };
            // What was to open a ticket has done so, or found one open: the cause is in the system either way.
            let there = parcel.continues.is_none() || self.mentions(&line, &id, parcel.key).await?;
            Ok(there.then(|| receipt(Some(id), "found after an attempt without an answer")))
        })
    }
}

/// What an attempt asks over.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    http: &'a Http,
    /// Time of the attempt.
    pub now: Timestamp,
}

/// One question to a ticket system.
#[derive(Debug)]
pub struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Value,
    content_type: &'static str,
    reply_limit_bytes: usize,
}

impl<'a> Call<'a> {
    /// Asks for what is at this path.
    #[must_use]
    pub fn get(path: &'a [&'a str], query: &'a [(&'a str, &'a str)]) -> Self {
        Call {
            query,
            ..Call::new(Method::GET, path, Value::Null)
        }
    }

    /// Sends JSON to this path.
    #[must_use]
    pub fn post(path: &'a [&'a str], body: Value) -> Self {
        Call::new(Method::POST, path, body)
    }

    /// Another method with a body.
    #[must_use]
    pub fn new(method: Method, path: &'a [&'a str], body: Value) -> Self {
        Call {
            method,
            path,
            query: &[],
            body,
            content_type: super::http::JSON,
            reply_limit_bytes: super::http::REPLY_LIMIT_BYTES,
        }
    }

    /// With these pairs behind the path.
    #[must_use]
    pub fn asking(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Call { query, ..self }
    }

    /// With this kind of body.
    #[must_use]
    pub fn of_type(self, content_type: &'static str) -> Self {
        Call {
            content_type,
            ..self
        }
    }

    /// With a reply that may be long.
    #[must_use]
    pub fn reading(self, reply_limit_bytes: usize) -> Self {
        Call {
            reply_limit_bytes,
            ..self
        }
    }
}

impl<'a> Line<'a> {
    fn of(http: &'a Http, parcel: &Parcel<'_>) -> Self {
        Line {
            http,
            now: parcel.now,
        }
    }

    /// Asks, and judges the answer.
    pub async fn ask<T: Tracker>(&self, tracker: &T, call: Call<'_>) -> Result<Reply, Failure> {
        let request = Request {
            method: call.method,
            headers: tracker.headers()?,
            hidden: tracker.hidden()?,
            content_type: call.content_type,
            reply_limit_bytes: call.reply_limit_bytes,
            ..Request::post(
                tracker.api()?.join(call.path).with_query(call.query),
                json_body(&call.body),
            )
        };
        tracker.judge(self.http.exchange(request, self.now).await?)
    }
}

/// What a ticket says.
#[derive(Debug, Clone)]
pub struct Ticket<'a> {
    /// By which it is found again.
    pub label: String,
    /// Idempotency key of this message, which its text ends with.
    pub key: &'a str,
    message: &'a Message,
}

impl<'a> Ticket<'a> {
    /// The ticket of a message.
    #[must_use]
    pub fn of(message: &'a Message, key: &'a str) -> Self {
        let id = match &message.context.incident {
            Some(story) => story.id.clone(),
            None => id_of(&message.fingerprint(), &message.context.service),
        };
        Ticket {
            label: format!("leakhound-{id}"),
            key,
            message,
        }
    }

    /// Its title, in one line of at most so many characters: what it is, where, and who is to blame.
    #[must_use]
    pub fn title(&self, chars: usize) -> String {
        let mut title = self.message.title();
        let culprit = self.message.cause.as_ref().map(|cause| &cause.culprit);
        let own_words = self.message.words.is_some();
        if let Some(culprit) = culprit.filter(|culprit| !culprit.is_empty() && !own_words) {
            title = format!("{title}: {culprit}");
        }
        truncate(&title, chars)
    }

    /// Its text, written by `write`, shed from the bottom until it is no longer than `limit_bytes`.
    #[must_use]
    pub fn text(&self, limit_bytes: usize, write: fn(&Document) -> String) -> String {
        fitted(
            self.message,
            |message| write(&Document::of(message, false).marked(&self.label, self.key)),
            |text| text.len() <= limit_bytes,
        )
    }

    /// What it is about.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.message
    }
}

/// The first of the names by which a system may call something: text in some releases, a number in others.
#[must_use]
pub fn id_in(value: &Value) -> Option<String> {
    let number = || value.as_u64().map(|n| n.to_string());
    value.as_str().map(str::to_owned).or_else(number)
}

async fn ticket_of<T: Tracker>(
    tracker: &T,
    line: &Line<'_>,
    parcel: &Parcel<'_>,
    ticket: &Ticket<'_>,
) -> Result<Option<String>, Failure> {
    match parcel.continues {
        Some(id) => Ok(Some(id.to_owned())),
        None => tracker.open(line, &ticket.label).await,
    }
}

pub(super) fn is_over(message: &Message) -> bool {
    let turn = message.context.incident.as_ref().map(|story| &story.turn);
    matches!(turn, Some(Turn::Resolved { .. }))
}

fn receipt(id: Option<String>, text: &str) -> Receipt {
    Receipt {
        proof: Proof::Confirmed,
        id,
        said: Said {
            status: 200,
            text: text.to_owned(),
        },
    }
}
