//! Diagnoses to deliver: an ordinary one, and one in which everything is as long and as hostile as it gets.

use std::sync::Arc;

use jiff::Timestamp;
use leakhound_rules::{Diagnosis, Severity};
use leakhound_triage::notify::message::{Story, Turn};
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::webhook::Webhook;
use leakhound_triage::notify::{Context, Destination, DestinationConfig, Message};
use serde_json::{Value, json};

/// Key of the tests' webhooks, as the convention writes keys.
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn finding(rank: u32, title: &str, culprit: &str) -> Value {
    json!({
        "rank": rank, "rule": "static-root", "category": "static-root", "severity": "critical", "confidence": 92,
        "role": "cause", "title": title, "culprit": culprit, "why_here": "It explains the most bytes.",
        "message": "Quotes keeps 1.21 GB alive through 412,310 entries.",
        "explained_bytes": 1_210_000_000u64, "share_of_commit": 0.78,
        "evidence": [{ "fact": "statics.retained_bytes", "value": 1_210_000_000u64, "unit": "bytes", "text": "1.21 GB" }],
        "path": ["static Shop.Pricing.QuoteCache.Quotes", "Dictionary<String, Order>", "Order"],
        "advice": ["Bound the cache, or let entries expire.", "Find who adds: Shop.Pricing.QuoteCache.Add."],
        "verify": ["sos: !gcroot"], "fingerprint": "static-root:Shop.Pricing.QuoteCache.Quotes",
    })
}

fn diagnosis(headline: &str, findings: Vec<Value>, facts: Value) -> Diagnosis {
    serde_json::from_value(json!({
        "schema": 1, "verdict": "leak", "headline": headline,
        "subject": { "service": "fabric:/Shop/Cart", "node": "node-07", "pid": 4711,
                     "process_started": "2026-11-19T15:22:00Z", "captured_at": "2026-11-22T19:22:33Z" },
        "runtime": { "name": ".NET", "version": "8.0.32" },
        "completeness": { "heap": 1.0 },
        "findings": findings,
        "memory": { "commit": 1_550_000_000u64 },
        "facts": facts,
    }))
    .unwrap()
}

/// The diagnosis of an ordinary leak.
pub fn leak() -> Diagnosis {
    let mut second = finding(2, "The large object heap is mostly holes", "");
    second["explained_bytes"] = 210_000_000u64.into();
    second["share_of_commit"] = 0.13.into();
    let first = finding(
        1,
        "A static field keeps a large part of the heap alive",
        "Shop.Pricing.QuoteCache.Quotes",
    );
    let facts = json!({ "heap.live_bytes": 1_300_000_000u64, "statics": [{ "field": "Shop.Pricing.QuoteCache.Quotes" }] });
    diagnosis(
        "Shop.Pricing.QuoteCache.Quotes keeps 1.21 GB alive, 78% of the commit",
        vec![first, second],
        facts,
    )
}

/// Names that mean something to one chat or another, and secrets.
pub fn hostile_name() -> String {
    let jwt = ["eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"].concat();
    format!(
        "<!channel> <@U012345> @room @here <at>Everyone</at> [x](javascript:alert(1)) **b** `c` _i_ ~s~ \"q\" & \
         </pre><script>alert(1)</script> \u{202e}gnp\u{200b} {{{{DATE(2017-02-14T06:00Z, SHORT)}}}} {jwt} Password={};",
        "hunter2hunter2"
    )
}

/// Everything too long, too many, and hostile.
pub fn monstrous() -> Diagnosis {
    let name = hostile_name().repeat(40);
    let findings = (1..=40)
        .map(|rank| {
            let mut finding = finding(rank, &name, &name);
            finding["message"] = name.clone().into();
            finding["path"] = (0..60).map(|i| format!("{name}{i}")).collect();
            finding["advice"] = (0..50).map(|i| format!("{name}{i}")).collect();
            finding
        })
        .collect();
    diagnosis(&name, findings, json!({}))
}

/// The message about a diagnosis, as the agent makes it.
pub fn message(diagnosis: &Diagnosis) -> Message {
    let context = Context {
        trigger: Some("four times the average".into()),
        link: Some("https://leakhound.example.com/r/42?a=1&b=2".into()),
        ..Context::of(diagnosis)
    };
    Message::new(diagnosis, context)
}

/// The message about an ordinary leak, as one turn of the story of incident `3f9ac01b2d`.
pub fn told(turn: Turn) -> Message {
    let mut message = message(&leak());
    let story = Story {
        id: "3f9ac01b2d".to_owned(),
        turn,
        round: 1,
        n_sightings: 3,
        n_nodes: 2,
    };
    message.tell_story(story, Timestamp::now());
    message
}

/// A message that differs from others in its service.
pub fn numbered(i: u32) -> Message {
    let mut message = message(&leak());
    message.context.service = format!("service-{i}");
    message
}

/// A destination of this name.
pub fn to(name: &str, destination: impl Destination + 'static) -> DestinationConfig {
    DestinationConfig::new(name, Severity::Info, Arc::new(destination)).unwrap()
}

/// A webhook to this address.
pub fn webhook(name: &str, url: &str) -> DestinationConfig {
    to(
        name,
        Webhook {
            url: SecretSource::inline(url),
            secrets: vec![SecretSource::inline(KEY)],
        },
    )
}
