//! What ticket systems have in common: one open ticket for each cause and service, found again by its label, carried on by
//! comments.
//!
//! A ticket is looked for before one is made, so that what another node or an earlier life of this program opened is carried on.
//! After an attempt without an answer it is looked for again, never made blindly.

pub mod document;

use super::destination::{Attempt, Parcel, Proof, Receipt, Said};
use super::http::Http;
use super::message::{Message, Turn};
use crate::incidents::id_of;
use document::Document;
use jiff::Timestamp;

/// One ticket system.
pub trait Tracker: Send + Sync {
    /// The open ticket that bears `label`, if there is one.
    fn open<'a>(
        &'a self,
        http: &'a Http,
        label: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, Option<String>>;

    /// Makes a ticket; the receipt names it.
    fn create<'a>(
        &'a self,
        http: &'a Http,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt>;

    /// Adds to a ticket; the receipt names the ticket, not the comment.
    fn comment<'a>(
        &'a self,
        http: &'a Http,
        id: &'a str,
        ticket: &'a Ticket<'a>,
        now: Timestamp,
    ) -> Attempt<'a, Receipt>;

    /// Whether one of the latest comments of a ticket bears this key.
    fn mentions<'a>(
        &'a self,
        http: &'a Http,
        id: &'a str,
        key: &'a str,
        now: Timestamp,
    ) -> Attempt<'a, bool>;
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
        if let Some(culprit) = culprit.filter(|culprit| !culprit.is_empty()) {
            title = format!("{title}: {culprit}");
        }
        match title.char_indices().nth(chars) {
            Some(_) => title.chars().take(chars - 1).chain(['…']).collect(),
            None => title,
        }
    }

    /// Its text, written by `write`, shed from the bottom until it is no longer than `limit_bytes`.
    #[must_use]
    pub fn text(&self, limit_bytes: usize, write: fn(&Document) -> String) -> String {
        let mut message = self.message.clone();
        loop {
            let text = write(&Document::of(&message, self.key, &self.label));
            if text.len() <= limit_bytes || !message.shed() {
                return text;
            }
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.message
    }
}

/// Sends a message to a ticket system: a comment where its ticket is open, a new ticket otherwise.
pub(super) fn send<'a>(
    tracker: &'a dyn Tracker,
    http: &'a Http,
    parcel: &'a Parcel<'a>,
) -> Attempt<'a, Receipt> {
    Box::pin(async move {
        let ticket = Ticket::of(parcel.message, parcel.key);
        match ticket_of(tracker, http, parcel, &ticket).await? {
            Some(id) => tracker.comment(http, &id, &ticket, parcel.now).await,
            None if is_over(parcel.message) => Ok(receipt(
                None,
                "it is over, and no ticket is open: nothing to be said".to_owned(),
            )),
            None => tracker.create(http, &ticket, parcel.now).await,
        }
    })
}

/// After an attempt without an answer: did it arrive?
pub(super) fn find<'a>(
    tracker: &'a dyn Tracker,
    http: &'a Http,
    parcel: &'a Parcel<'a>,
) -> Attempt<'a, Option<Receipt>> {
    Box::pin(async move {
        let ticket = Ticket::of(parcel.message, parcel.key);
        let Some(id) = ticket_of(tracker, http, parcel, &ticket).await? else {
            return Ok(None);
        };
        // What was to open a ticket has done so, or found one open: the cause is in the system either way.
        let there = parcel.continues.is_none()
            || tracker.mentions(http, &id, parcel.key, parcel.now).await?;
        Ok(there.then(|| {
            receipt(
                Some(id),
                "found after an attempt without an answer".to_owned(),
            )
        }))
    })
}

async fn ticket_of(
    tracker: &dyn Tracker,
    http: &Http,
    parcel: &Parcel<'_>,
    ticket: &Ticket<'_>,
) -> Result<Option<String>, super::destination::Failure> {
    match parcel.continues {
        Some(id) => Ok(Some(id.to_owned())),
        None => tracker.open(http, &ticket.label, parcel.now).await,
    }
}

fn is_over(message: &Message) -> bool {
    let turn = message.context.incident.as_ref().map(|story| &story.turn);
    matches!(turn, Some(Turn::Resolved { .. }))
}

fn receipt(id: Option<String>, text: String) -> Receipt {
    Receipt {
        proof: Proof::Confirmed,
        id,
        said: Said { status: 200, text },
    }
}
