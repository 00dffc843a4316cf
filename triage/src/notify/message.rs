//! The message: what a person on call reads on one phone screen.
//!
//! Pure: built from a diagnosis and where it was made, scrubbed while it is built, and made shorter from the bottom by
//! [`Message::shed`] until a destination's limit is met. Destinations only decide how it looks.

mod cause;
mod context;
mod line;

use jiff::Timestamp;
use leakhound_rules::{Diagnosis, Severity, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{self, Document};
use super::payload;
pub use cause::{Cause, Other};
use cause::{cause, other};
pub use context::{Context, Story, Turn};
use context::{tidy, tidy_story};
pub(crate) use line::clean;
use line::{NAME_CHARS, SENTENCE_CHARS, STUB_CHARS, amount, cut, minute, or, span};

/// Version of the meaning of a stored [`Message`].
pub const MESSAGE_SCHEMA: u32 = 1;

/// Further findings that a message names; the report has them all.
const OTHERS_LIMIT: usize = 3;
/// Lines of words that are not the usual ones.
const LINES_LIMIT: usize = 100;

/// A message, ready for any destination. Every text in it is scrubbed, in one line, and of bounded length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// [`MESSAGE_SCHEMA`] of the writer.
    pub schema: u32,
    /// A sample that somebody asked for, not an incident.
    pub sample: bool,
    /// The answer in one word.
    pub verdict: Verdict,
    /// How bad it is: that of the first finding.
    pub severity: Severity,
    /// The answer in one sentence.
    pub headline: String,
    /// Whose it is. Its texts are clean.
    pub context: Context,
    /// The first finding.
    pub cause: Option<Cause>,
    /// The next findings.
    pub others: Vec<Other>,
    /// Findings that are not named here.
    pub n_unnamed: usize,
    /// The diagnosis for machines: scrubbed, without lists of facts.
    pub diagnosis: Value,
    /// What was left out of `diagnosis`.
    pub omitted: Vec<String>,
    /// Words in place of the usual ones: a template's, or those of a digest.
    #[serde(default)]
    pub words: Option<Words>,
}

/// Words of a message, clean like every other text of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The first line.
    pub title: String,
    /// What stands below it, the most important first.
    pub lines: Vec<String>,
}

impl Words {
    /// Words from text of unknown origin.
    #[must_use]
    pub fn new<'a>(title: &str, lines: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = lines.into_iter().take(LINES_LIMIT);
        Words {
            title: clean(title, NAME_CHARS),
            lines: lines
                .map(|line| clean(line, SENTENCE_CHARS))
                .filter(|line| !line.is_empty())
                .collect(),
        }
    }
}

impl Message {
    /// The message about a diagnosis.
    #[must_use]
    pub fn new(diagnosis: &Diagnosis, context: Context) -> Self {
        let withheld = payload::withheld(diagnosis, context.heap_strings);
        let say = |text: &str, chars: usize| clean(&withheld.hide(text), chars);
        let findings = &diagnosis.findings;
        let others: Vec<Other> = findings
            .iter()
            .skip(1)
            .take(OTHERS_LIMIT)
            .map(|f| other(f, &say))
            .collect();
        let (document, omitted) = payload::document(diagnosis, &withheld);
        Message {
            schema: MESSAGE_SCHEMA,
            sample: false,
            verdict: diagnosis.verdict,
            severity: severity_of(diagnosis),
            headline: say(&diagnosis.headline, SENTENCE_CHARS),
            n_unnamed: findings.len().saturating_sub(1 + others.len()),
            cause: findings.first().map(|finding| cause(finding, &say)),
            others,
            context: tidy(context),
            diagnosis: document,
            omitted,
            words: None,
        }
    }

    /// Says which part of an incident's story the message is.
    pub fn tell_story(&mut self, story: Story, first_seen: Timestamp) {
        self.context.first_seen = Some(first_seen);
        self.context.incident = Some(tidy_story(story));
    }

    /// The identity of what the message is about: the first finding's, or the verdict where nothing was found.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match &self.cause {
            Some(cause) if !cause.fingerprint.is_empty() => cause.fingerprint.clone(),
            _ => format!("verdict-{}", self.verdict),
        }
    }

    /// The first line: what kind of message it is, and about which service.
    #[must_use]
    pub fn title(&self) -> String {
        let what = match self.verdict {
            Verdict::Leak => "Memory leak",
            Verdict::Pressure => "Memory pressure",
            Verdict::NotALeak => "Memory use is high, and not a leak",
            Verdict::Healthy => "Memory is healthy",
            Verdict::Unreliable => "A capture could not be judged",
        };
        let test = if self.sample { "TEST: " } else { "" };
        if let Some(words) = &self.words {
            return format!("{test}{}", words.title);
        }
        let service = or(&self.context.service, "an unnamed service");
        match self.context.incident.as_ref().map(|story| &story.turn) {
            Some(Turn::Resolved { version: None }) => format!("{test}Over: {what} in {service}"),
            Some(Turn::Resolved { version: Some(v) }) => {
                format!("{test}Over in {v}: {what} in {service}")
            }
            Some(Turn::Regressed { fixed_in: None }) => format!("{test}Back: {what} in {service}"),
            Some(Turn::Regressed { fixed_in: Some(v) }) => {
                format!("{test}Back, though thought fixed in {v}: {what} in {service}")
            }
            Some(Turn::Again) => format!("{test}Still: {what} in {service}"),
            Some(Turn::Opened) | None => format!("{test}{what} in {service}"),
        }
    }

    /// One character that shows the severity.
    #[must_use]
    pub fn mark(&self) -> &'static str {
        if let Some(Story {
            turn: Turn::Resolved { .. },
            ..
        }) = self.context.incident
        {
            return "🟢";
        }
        match (self.verdict, self.severity) {
            (Verdict::Healthy | Verdict::NotALeak, _) => "🟢",
            (_, Severity::Critical) => "🔴",
            (_, Severity::Warning) => "🟠",
            (_, Severity::Info) => "🔵",
        }
    }

    /// The labelled lines: how much, how sure, where, since when.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(cause) = &self.cause {
            if cause.explained_bytes > 0 {
                rows.push((
                    "How much",
                    amount(cause.explained_bytes, cause.share_of_commit),
                ));
            }
            if let Some(growth) = &self.context.growth {
                rows.push(("Growth", growth.line()));
            }
            rows.push((
                "How sure",
                format!("{}%, {}", cause.confidence, self.severity),
            ));
        }
        rows.push(("Where", self.place()));
        if let Some(since) = self.since() {
            rows.push(("Since", since));
        }
        if let Some(story) = &self.context.incident {
            rows.push(("Incident", story.counted()));
        }
        if let Some(trigger) = &self.context.trigger {
            rows.push(("Trigger", trigger.clone()));
        }
        rows
    }

    /// The path from a root to what accumulates, on one line.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        let cause = self.cause.as_ref()?;
        match (cause.path.is_empty(), cause.culprit.is_empty()) {
            (false, _) => Some(cause.path.join(" → ")),
            (true, false) => Some(cause.culprit.clone()),
            (true, true) => None,
        }
    }

    /// The findings after the first, one line each.
    #[must_use]
    pub fn further(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .others
            .iter()
            .map(|other| format!("{}. {}", other.rank, other.line))
            .collect();
        match self.n_unnamed {
            0 => {}
            1 => lines.push("and 1 more in the report".into()),
            n => lines.push(format!("and {n} more in the report")),
        }
        lines
    }

    /// The whole message as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let document = Document::of(self, false);
        format!("{}\n{}", document.heading(), document::plain(&document))
    }

    /// Drops the least important thing that is left; `false` when only the title and the link are.
    pub fn shed(&mut self) -> bool {
        if let Some(words) = &mut self.words
            && words.lines.pop().is_some()
        {
            return true;
        }
        if self.others.pop().is_some() {
            self.n_unnamed += 1;
            return true;
        }
        let Some(cause) = &mut self.cause else {
            return cut(&mut self.headline, STUB_CHARS);
        };
        if cause.advice.len() > 1 {
            cause.advice.pop();
        } else if cause.path.len() > 2 {
            // The ends say who holds it and what accumulates; the steps between matter least.
            cause.path.remove(cause.path.len() / 2);
        } else if !cause.advice.is_empty() {
            cause.advice.clear();
        } else if self.context.trigger.is_some() {
            self.context.trigger = None;
        } else if !cause.sentence.is_empty() {
            cause.sentence.clear();
        } else if !cause.path.is_empty() {
            cause.path.clear();
        } else {
            return cut(&mut cause.culprit, STUB_CHARS)
                || cut(&mut cause.title, STUB_CHARS)
                || cut(&mut self.headline, STUB_CHARS);
        }
        true
    }

    fn place(&self) -> String {
        let node = or(&self.context.node, "an unnamed node");
        match self.context.pid {
            Some(pid) => format!("{node}, pid {pid}"),
            None => node.to_owned(),
        }
    }

    fn since(&self) -> Option<String> {
        let at = self.context.at;
        let seen = at.map(|at| format!("captured {}", minute(at)));
        let age = |from: Timestamp| at.and_then(|at| span(from, at));
        let before = match (self.context.first_seen, self.context.process_started) {
            (Some(first), _) => {
                let ago = age(first)
                    .map(|age| format!(", {age} earlier"))
                    .unwrap_or_default();
                Some(format!("first seen {}{ago}", minute(first)))
            }
            (None, Some(start)) => age(start).map(|age| format!("process was up {age}")),
            (None, None) => None,
        };
        match (seen, before) {
            (Some(seen), Some(before)) => Some(format!("{seen}; {before}")),
            (one, other) => one.or(other),
        }
    }
}

/// How bad the whole of it is: the first finding tells, since ranking put it first for a reason.
#[must_use]
pub fn severity_of(diagnosis: &Diagnosis) -> Severity {
    match (diagnosis.findings.first(), diagnosis.verdict) {
        (_, Verdict::Healthy | Verdict::NotALeak) => Severity::Info,
        (Some(finding), _) => finding.severity,
        (None, _) => Severity::Warning,
    }
}
