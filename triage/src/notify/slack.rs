//! Slack, through an incoming webhook.

use serde_json::Value;

use super::blocks;
use super::destination::{Failure, FailureKind, Parcel, Receipt};
use super::hook::{Chat, Hook};
use super::http::Reply;

/// `slack = { webhook = { env = "…" } }`
pub type Slack = Hook<Form>;

/// What Slack takes.
#[derive(Debug)]
pub enum Form {}

impl Chat for Form {
    const KIND: &'static str = "slack";
    const KEY: &'static str = "slack.webhook";

    fn body(parcel: &Parcel<'_>) -> Value {
        blocks::payload(parcel.message, parcel.maybe_sent)
    }

    /// Slack says `ok`, or names the error in one word.
    fn judge(reply: &Reply) -> Result<Receipt, Failure> {
        if let Some(failure) = reply.failure_by_status() {
            return Err(failure);
        }
        if reply.body.trim() == "ok" {
            return Ok(reply.confirmed(None));
        }
        // The Web API and some proxies of it answer 200 with the error inside.
        match serde_json::from_str(&reply.body) {
            Ok(answer) => {
                judge_api(reply, &answer)?;
                Ok(reply.confirmed(answer["ts"].as_str()))
            }
            Err(_) => Err(reply.stranger("Slack answers `ok`")),
        }
    }
}

/// What an answer of Slack's Web API means, whatever its status.
pub(super) fn judge_api(reply: &Reply, answer: &Value) -> Result<(), Failure> {
    let said = reply.said();
    match (answer["ok"].as_bool(), answer["error"].as_str()) {
        (Some(true), _) => Ok(()),
        (_, Some("ratelimited" | "rate_limited")) => Err(reply.failure(
            FailureKind::Retry(reply.retry_after()),
            format!("asked to come back later: {said}"),
        )),
        (_, Some("internal_error" | "fatal_error" | "service_unavailable" | "request_timeout")) => {
            Err(reply.failure(
                FailureKind::Retry(None),
                format!("failed on Slack's side: {said}"),
            ))
        }
        _ => Err(reply.failure(FailureKind::Permanent, format!("refused: {said}"))),
    }
}
