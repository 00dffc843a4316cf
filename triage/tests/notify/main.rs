//! Delivery against servers that misbehave, processes that are killed, and the vendors' own artifacts.

#![allow(clippy::unwrap_used)]

mod ambiguous;
mod config;
mod crash;
mod email;
mod fixtures;
mod group;
mod inbox;
mod lossy;
mod matrix;
mod outbox;
mod payloads;
mod peer;
mod replies;
mod request_tracker;
mod routing;
mod screens;
mod service_fabric;
mod sfctl;
mod slack_bot;
mod story;
mod support;
mod tickets;
mod trust;
mod vendors;
