//! What every format shows, worked out once: foreign text tamed, numbers with units, long lists cut.
//!
//! Nothing here grows with the number of objects, types or findings: each list has a limit, and what was left out is
//! counted.

mod account;
mod finding;
mod growth;
mod heap;
mod reading;

use leakhound_rules::diagnosis::{Diagnosis, Verdict};
use leakhound_rules::sheet::{FactSheet, Subject};
use serde::Serialize;

use super::{amount, clean};

pub use account::Account;
pub use finding::{Card, Proof};
pub use heap::{Family, Heap, Holding};
pub use reading::Reading;

/// Characters of a name: a type, a field, a service.
const NAME_MAX: usize = 240;
/// Characters of a sentence.
const SENTENCE_MAX: usize = 600;

/// A list that was cut: what is shown, and how many are not.
#[derive(Debug, Clone, Serialize)]
pub struct Cut<T> {
    /// What is shown.
    pub shown: Vec<T>,
    /// How many more there are.
    pub more: usize,
}

impl<T> Cut<T> {
    /// The first `limit` of `items`.
    fn first<S>(items: &[S], limit: usize, show: impl FnMut(&S) -> T) -> Self {
        Self {
            shown: items.iter().take(limit).map(show).collect(),
            more: items.len().saturating_sub(limit),
        }
    }
}

/// A whole report, ready to be laid out.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// `leak`, `pressure`, `not-a-leak`, `healthy`, `unreliable`.
    pub verdict: &'static str,
    /// The verdict as a reader sees it: `NOT A LEAK`.
    pub verdict_text: &'static str,
    /// What the verdict means, one sentence.
    pub verdict_meaning: &'static str,
    /// The answer in one sentence.
    pub headline: String,
    /// The service, or the file that was read.
    pub service: String,
    /// `pid 4711 on node-3`.
    pub place: String,
    /// `2026-11-22 03:14:07 UTC`.
    pub captured: Option<String>,
    /// How long the process had been up: `2 days 4 h`.
    pub uptime: Option<String>,
    /// How it grew since earlier captures: `live managed memory +40 MB since the last capture 10 min earlier; …`.
    pub growth: Option<String>,
    /// `.NET 8.0.22, linux x64`.
    pub runtime: String,
    /// `server GC, 4 heaps, regions`.
    pub gc: String,
    /// Where the dump was read from.
    pub source: String,
    /// The byte account.
    pub account: Account,
    /// What was found.
    pub findings: Cut<Card>,
    /// What is on the heap.
    pub heap: Heap,
    /// How well the capture could be read.
    pub reading: Reading,
    /// Program and version that read the dump.
    pub tool: String,
}

/// Findings that a report shows; a diagnosis has a handful.
const FINDINGS_MAX: usize = 40;

impl View {
    /// Works out what to show.
    #[must_use]
    pub fn new(diagnosis: &Diagnosis, sheet: &FactSheet) -> Self {
        let subject = if sheet.subject == Subject::default() {
            &diagnosis.subject
        } else {
            &sheet.subject
        };
        let (verdict_text, verdict_meaning) = verdict_words(diagnosis.verdict);
        Self {
            verdict: diagnosis.verdict.name(),
            verdict_text,
            verdict_meaning,
            headline: sentence(&diagnosis.headline),
            service: service(subject),
            place: place(subject),
            captured: subject.captured_at.as_deref().map(moment),
            uptime: uptime(subject, sheet),
            growth: growth::line(sheet),
            runtime: runtime(diagnosis),
            gc: collector(diagnosis, sheet),
            source: name(&subject.source),
            account: Account::new(&diagnosis.memory),
            findings: Cut::first(&diagnosis.findings, FINDINGS_MAX, Card::new),
            heap: Heap::new(sheet, &diagnosis.memory),
            reading: Reading::new(diagnosis, sheet),
            tool: if sheet.tool.is_empty() {
                concat!("leakhound ", env!("CARGO_PKG_VERSION")).to_owned()
            } else {
                name(&sheet.tool)
            },
        }
    }
}

/// A name from the dump.
fn name(text: &str) -> String {
    clean::line(text, NAME_MAX)
}

/// A sentence that may quote the dump.
fn sentence(text: &str) -> String {
    clean::line(text, SENTENCE_MAX)
}

/// The service, else the file that was read: something to call it by.
fn service(subject: &Subject) -> String {
    let file = subject.source.rsplit(['/', '\\']).next().unwrap_or("");
    match (subject.service.as_str(), file) {
        ("", "") => "unknown process".to_owned(),
        ("", file) => name(file),
        (service, _) => name(service),
    }
}

fn verdict_words(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Leak => ("LEAK", "A cause was found; it will not go away by itself."),
        Verdict::Pressure => (
            "PRESSURE",
            "No cause was found, but the memory limit is close.",
        ),
        Verdict::NotALeak => (
            "NOT A LEAK",
            "The memory is held for a reason and comes back by itself.",
        ),
        Verdict::Healthy => ("HEALTHY", "Nothing stands out."),
        Verdict::Unreliable => (
            "UNRELIABLE",
            "The capture could not be read well enough to judge it.",
        ),
    }
}

fn place(subject: &Subject) -> String {
    match (subject.pid, subject.node.is_empty()) {
        (0, true) => String::new(),
        (0, false) => format!("on {}", name(&subject.node)),
        (pid, true) => format!("pid {pid}"),
        (pid, false) => format!("pid {pid} on {}", name(&subject.node)),
    }
}

/// An RFC 3339 time to the second, in UTC; what cannot be read as one is shown as it is.
fn moment(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => clean::line(text, 40),
    }
}

/// From the fact, or from the two times of the subject.
fn uptime(subject: &Subject, sheet: &FactSheet) -> Option<String> {
    let fact = sheet.get_int("uptime");
    let ms = fact.or_else(|| {
        let time = |text: &Option<String>| text.as_deref()?.parse::<jiff::Timestamp>().ok();
        let (from, to) = (time(&subject.process_started)?, time(&subject.captured_at)?);
        Some(to.as_millisecond() - from.as_millisecond())
    })?;
    u64::try_from(ms).ok().map(amount::duration)
}

fn runtime(diagnosis: &Diagnosis) -> String {
    let runtime = &diagnosis.runtime;
    let product = match (runtime.name.as_str(), runtime.version.as_str()) {
        ("", "") | ("none", _) => "no .NET runtime".to_owned(),
        (product, version) => format!("{product} {version}").trim().to_owned(),
    };
    let platform = format!("{} {}", runtime.os, runtime.arch);
    let single_file = if runtime.single_file {
        "single file"
    } else {
        ""
    };
    let parts: Vec<&str> = [product.as_str(), platform.trim(), single_file]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    name(&parts.join(", "))
}

fn collector(diagnosis: &Diagnosis, sheet: &FactSheet) -> String {
    let mut parts = Vec::new();
    if !diagnosis.runtime.gc.is_empty() {
        parts.push(format!("{} GC", diagnosis.runtime.gc));
    }
    match sheet.get_int("gc.heaps") {
        Some(1) => parts.push("1 heap".to_owned()),
        Some(heaps) => parts.push(format!("{heaps} heaps")),
        None => {}
    }
    if !diagnosis.runtime.heap_layout.is_empty() {
        parts.push(diagnosis.runtime.heap_layout.clone());
    }
    name(&parts.join(", "))
}
