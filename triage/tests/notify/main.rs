//! Delivery against servers that misbehave, processes that are killed, and the vendors' own artifacts.

#![allow(clippy::unwrap_used)]

mod ambiguous;
mod config;
mod crash;
mod fixtures;
mod inbox;
mod matrix;
mod outbox;
mod payloads;
mod replies;
mod request_tracker;
mod story;
mod support;
mod tickets;
mod trust;
