//! Delivery: a diagnosis becomes a short message, and the message reaches a chat or a machine exactly as configured.
//!
//! [`Message`] is pure: what, where, how sure, how much, since when, who owns it, what to do, link.
//! A [`Destination`] renders it and speaks to one kind of system. The [`Outbox`] is the durable queue between the two:
//! nothing is lost over a crash, and nothing is tried again that the other side is known to have.
//!
//! To add a destination: one file with a configuration type that implements [`Destination`], one line in
//! [`registry`], one test.
//!
//! Invariants: no secret is stored, logged or shown in `Debug`; every string that leaves has been through [`scrub`];
//! every reply is read up to a limit; redirects are never followed.

pub mod address;
pub mod azure_devops;
pub mod blocks;
pub mod cluster;
pub mod config;
pub mod destination;
pub mod digest;
pub mod discord;
pub mod document;
pub mod email;
mod gateway;
pub mod github;
pub mod gitlab;
pub mod google_chat;
pub mod growth;
pub mod hook;
pub mod http;
pub mod inbox;
pub mod jira;
pub mod matrix;
pub mod mattermost;
pub mod message;
pub mod outbox;
pub mod pagerduty;
mod payload;
pub mod pinned;
pub mod redmine;
pub mod registry;
pub mod request_tracker;
pub mod route;
pub mod sample;
pub mod scrub;
pub mod secret;
pub mod service_fabric;
pub mod servicenow;
pub mod slack;
pub mod slack_bot;
pub mod teams;
pub mod template;
pub mod ticket;
pub mod webhook;

pub use config::{ConfigError, DestinationConfig};
pub use destination::{Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat, Said};
pub use http::Http;
pub use inbox::Inbox;
pub use message::{Context, Message};
pub use outbox::{Outbox, Policy};
