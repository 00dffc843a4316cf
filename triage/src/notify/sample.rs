//! `leakhound notify test NAME`: a marked sample to one destination, and exactly what the other side said.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use leakhound_rules::{Severity, Verdict};
use serde_json::json;

use super::config::DestinationConfig;
use super::destination::{Failure, FailureKind, Parcel, Proof, Receipt};
use super::growth::Growth;
use super::http::Http;
use super::message::{Cause, Context, MESSAGE_SCHEMA, Message, Other};

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// Name of the destination.
    pub destination: String,
    /// Its kind.
    pub kind: &'static str,
    /// Key that the sample went under.
    pub key: String,
    /// What a careful operator would want to know besides.
    pub warnings: Vec<String>,
    /// What came of it.
    pub result: Result<Receipt, Failure>,
    /// From the first byte to the end of the reply.
    pub took: Duration,
}

/// Sends a sample, once, past the outbox: no retry, no trace, and a new key each time.
pub async fn send(to: &DestinationConfig, http: &Http, now: Timestamp) -> TestReport {
    let message = to.dress(&message(now));
    let nanoseconds = now.as_nanosecond().to_string();
    let key = super::outbox::key_of("sample", &message.context.service, &to.name, &nanoseconds);
    let mut report = TestReport {
        destination: to.name.clone(),
        kind: to.destination.kind(),
        key,
        warnings: Vec::new(),
        result: Err(Failure::new(FailureKind::Permanent, "not tried")),
        took: Duration::ZERO,
    };
    match to.check() {
        Ok(warnings) => report.warnings = warnings,
        Err(error) => {
            report.result = Err(Failure::new(FailureKind::Permanent, error.to_string()));
            return report;
        }
    }
    let parcel = Parcel {
        key: &report.key,
        message: &message,
        continues: None,
        maybe_sent: false,
        now,
    };
    let started = Instant::now();
    report.result = to.destination.send(http, &parcel).await;
    report.took = started.elapsed();
    report
}

impl TestReport {
    /// Whether the other side took it.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{} ({}): ", self.destination, self.kind)?;
        match &self.result {
            Ok(receipt) => {
                match receipt.proof {
                    Proof::Confirmed => write!(f, "delivered in {seconds:.2} s. ")?,
                    Proof::Accepted => write!(
                        f,
                        "accepted in {seconds:.2} s; whether it was posted is to be seen there (for Teams, in the run \
                         history of the workflow). "
                    )?,
                }
                write!(f, "The other side said: {}", receipt.said)?;
                if let Some(id) = &receipt.id {
                    write!(f, "; its name for it: {id}")?;
                }
            }
            Err(failure) => {
                let what = match failure.kind {
                    FailureKind::Permanent => "not delivered",
                    FailureKind::Retry(_) => "not delivered now; an incident would be tried again",
                    FailureKind::Ambiguous => "no answer; it may have arrived",
                };
                write!(f, "{what} ({seconds:.2} s): {}", failure.reason)?;
            }
        }
        self.warnings
            .iter()
            .try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}

/// The sample: every part that a real message may have, and the word TEST where it is read first.
#[must_use]
pub fn message(now: Timestamp) -> Message {
    let earlier = |hours: i64| {
        now.checked_sub(SignedDuration::from_hours(hours))
            .unwrap_or(Timestamp::MIN)
    };
    let headline =
        "Sample: Sample.Pricing.QuoteCache.Quotes keeps 1.21 GB alive, 78% of the commit";
    Message {
        schema: MESSAGE_SCHEMA,
        sample: true,
        verdict: Verdict::Leak,
        severity: Severity::Critical,
        headline: headline.into(),
        context: Context {
            service: "sample".into(),
            node: "sample-node".into(),
            pid: Some(4711),
            at: Some(now),
            process_started: Some(earlier(76)),
            trigger: Some("four times the average".into()),
            growth: Growth::of([
                (earlier(3), 0.31e9),
                (earlier(2), 0.52e9),
                (earlier(1), 0.9e9),
                (now, 1.21e9),
            ]),
            ..Context::default()
        },
        cause: Some(Cause {
            title: "A static field keeps a large part of the heap alive".into(),
            sentence:
                "The dictionary holds 412,310 quotes; none was removed since the process started."
                    .into(),
            culprit: "Sample.Pricing.QuoteCache.Quotes".into(),
            category: "static-root".into(),
            confidence: 92,
            explained_bytes: 1_210_000_000,
            share_of_commit: Some(0.78),
            path: vec![
                "static Sample.Pricing.QuoteCache.Quotes".into(),
                "Dictionary<String, Quote>".into(),
                "Quote".into(),
            ],
            advice: vec!["Bound the cache, or let entries expire.".into()],
            fingerprint: "sample".into(),
        }),
        others: vec![Other {
            rank: 2,
            line: "The large object heap is mostly holes (210 MB, 13% of commit)".into(),
        }],
        n_unnamed: 0,
        diagnosis: json!({ "schema": 1, "verdict": "leak", "headline": headline, "findings": [] }),
        omitted: Vec::new(),
        words: None,
    }
}
