//! The message: what a person on call reads on one phone screen.
//!
//! Pure: built from a diagnosis and where it was made, scrubbed while it is built, and made shorter from the bottom by
//! [`Message::shed`] until a destination's limit is met. Destinations only decide how it looks.

use jiff::{Timestamp, Unit};
use leakhound_rules::units::format_bytes;
use leakhound_rules::{Diagnosis, Finding, Severity, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{self, Document};
use super::growth::Growth;
use super::payload;
use super::scrub;
use std::path::PathBuf;

/// Version of the meaning of a stored [`Message`].
pub const MESSAGE_SCHEMA: u32 = 1;

/// Further findings that a message names; the report has them all.
const OTHERS_LIMIT: usize = 3;
/// Steps of advice in a message.
const ADVICE_LIMIT: usize = 3;
/// Elements of a path in a message: from both ends, the middle left out.
const PATH_LIMIT: usize = 6;
/// Longest name of a service, type or step, in characters.
const NAME_CHARS: usize = 160;
/// Longest sentence, in characters.
const SENTENCE_CHARS: usize = 320;
/// Lines of words that are not the usual ones.
const LINES_LIMIT: usize = 100;
/// What is left of any text in the last step of shedding.
const STUB_CHARS: usize = 80;

/// What the diagnosis itself does not know: whose it is, and where the report is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Service as configured.
    pub service: String,
    /// Host name of the node.
    pub node: String,
    /// Process id.
    pub pid: Option<u32>,
    /// Moment of the capture.
    pub at: Option<Timestamp>,
    /// Start of the process.
    pub process_started: Option<Timestamp>,
    /// First sighting of the same cause.
    pub first_seen: Option<Timestamp>,
    /// What fired, as configured.
    pub trigger: Option<String>,
    /// Bundle in the archive.
    pub bundle: Option<String>,
    /// Address of the report; only `http` and `https` are kept.
    pub link: Option<String>,
    /// How it grew until then.
    pub growth: Option<Growth>,
    /// The report on this node, for destinations that take files. It never leaves as a path.
    pub report: Option<PathBuf>,
    /// What it is part of, when it is no first and last word.
    pub incident: Option<Story>,
    /// Whether contents of strings of the heap may leave the node. Off unless the operator says so.
    pub heap_strings: bool,
}

/// Where a message stands in the story of its incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Short name of the incident.
    pub id: String,
    /// What happened.
    pub turn: Turn,
    /// How often it was opened.
    pub round: u32,
    /// Captures that showed it.
    pub n_sightings: u64,
    /// Nodes that it was seen on.
    pub n_nodes: u64,
}

/// What happened to an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It is new.
    Opened,
    /// It goes on.
    Again,
    /// It is back.
    Regressed {
        /// The version that was thought to have the fix.
        fixed_in: Option<String>,
    },
    /// It is over.
    Resolved {
        /// The version that has the fix, where it is known.
        version: Option<String>,
    },
}

impl Story {
    fn counted(&self) -> String {
        let plural = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let seen = plural(self.n_sightings, "capture");
        format!("{}, {seen} on {}", self.id, plural(self.n_nodes, "node"))
    }
}

impl Context {
    /// What the diagnosis knows of its own subject.
    #[must_use]
    pub fn of(diagnosis: &Diagnosis) -> Self {
        let subject = &diagnosis.subject;
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        Context {
            service: subject.service.clone(),
            node: subject.node.clone(),
            pid: (subject.pid != 0).then_some(subject.pid),
            at: time(&subject.captured_at),
            process_started: time(&subject.process_started),
            ..Context::default()
        }
    }
}

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

/// The finding to act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// What it is, in general.
    pub title: String,
    /// What it is, here.
    pub sentence: String,
    /// The type, field, path or thread to blame.
    pub culprit: String,
    /// One of the closed list of categories.
    pub category: String,
    /// How sure, 0 to 100.
    pub confidence: u8,
    /// Bytes it accounts for.
    pub explained_bytes: u64,
    /// The same as a share of the commit.
    pub share_of_commit: Option<f64>,
    /// From a root to what accumulates.
    pub path: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
    /// Identity across captures, nodes and versions.
    pub fingerprint: String,
}

/// A further finding, in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its rank.
    pub rank: u32,
    /// Title and culprit.
    pub line: String,
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

fn cause(finding: &Finding, say: &dyn Fn(&str, usize) -> String) -> Cause {
    let n_path = finding.path.len();
    let mut path: Vec<String> = finding
        .path
        .iter()
        .map(|step| say(step, NAME_CHARS))
        .collect();
    if n_path > PATH_LIMIT {
        path.splice(PATH_LIMIT / 2..n_path - PATH_LIMIT / 2, ["…".to_owned()]);
    }
    Cause {
        title: say(&finding.title, NAME_CHARS),
        sentence: say(&finding.message, SENTENCE_CHARS),
        culprit: say(&finding.culprit, NAME_CHARS),
        category: finding.category.name().to_owned(),
        confidence: finding.confidence.min(100),
        explained_bytes: finding.explained_bytes,
        share_of_commit: finding.share_of_commit.filter(|share| share.is_finite()),
        path,
        advice: finding
            .advice
            .iter()
            .take(ADVICE_LIMIT)
            .map(|step| say(step, SENTENCE_CHARS))
            .collect(),
        fingerprint: clean(&finding.fingerprint, NAME_CHARS),
    }
}

fn other(finding: &Finding, say: &dyn Fn(&str, usize) -> String) -> Other {
    let mut line = say(&finding.title, NAME_CHARS);
    if !finding.culprit.is_empty() && !finding.title.contains(&finding.culprit) {
        line.push_str(": ");
        line.push_str(&say(&finding.culprit, STUB_CHARS));
    }
    if finding.explained_bytes > 0 {
        line.push_str(&format!(
            " ({})",
            amount(finding.explained_bytes, finding.share_of_commit)
        ));
    }
    Other {
        rank: finding.rank,
        line,
    }
}

fn tidy(context: Context) -> Context {
    let name = |text: &str| clean(text, NAME_CHARS);
    Context {
        service: name(&context.service),
        node: name(&context.node),
        trigger: context
            .trigger
            .as_deref()
            .map(name)
            .filter(|text| !text.is_empty()),
        bundle: context
            .bundle
            .as_deref()
            .map(|text| clean(text, SENTENCE_CHARS)),
        link: context
            .link
            .filter(|link| is_web(link))
            .map(|link| scrub::text(&link).into_owned()),
        incident: context.incident.map(tidy_story),
        ..context
    }
}

fn tidy_story(story: Story) -> Story {
    let name = |text: String| clean(&text, NAME_CHARS);
    Story {
        turn: match story.turn {
            Turn::Regressed { fixed_in } => Turn::Regressed {
                fixed_in: fixed_in.map(name),
            },
            Turn::Resolved { version } => Turn::Resolved {
                version: version.map(name),
            },
            other => other,
        },
        ..story
    }
}

fn is_web(link: &str) -> bool {
    let plain = link.len() <= 2000
        && !link.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"|`".contains(c));
    plain && (link.starts_with("https://") || link.starts_with("http://"))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn amount(bytes: u64, share: Option<f64>) -> String {
    let size = format_bytes(bytes as f64);
    match share.filter(|share| share.is_finite()) {
        Some(share) => format!("{size}, {:.0}% of commit", share * 100.0),
        None => size,
    }
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `3 d 4 h`, `12 min`: the two largest units say enough.
fn span(from: Timestamp, to: Timestamp) -> Option<String> {
    let minutes = to.since((Unit::Minute, from)).ok()?.get_minutes();
    match minutes {
        i64::MIN..0 => None,
        0..120 => Some(format!("{minutes} min")),
        120..2880 => Some(format!("{} h {} min", minutes / 60, minutes % 60)),
        _ => Some(format!("{} d {} h", minutes / 1440, minutes % 1440 / 60)),
    }
}

fn cut(text: &mut String, chars: usize) -> bool {
    match text.char_indices().nth(chars) {
        // The ellipsis is one character more: without this test the same text would be cut for ever.
        Some(_) if text.chars().count() == chars + 1 && text.ends_with('…') => false,
        Some((end, _)) => {
            text.truncate(end);
            text.push('…');
            true
        }
        None => false,
    }
}

/// Text of unknown origin as one scrubbed line of bounded length, without characters that steer a terminal or the
/// direction of writing.
pub(crate) fn clean(text: &str, chars: usize) -> String {
    // A bound before any work: a name of a megabyte is not scrubbed to its end.
    let mut head = text;
    if let Some((end, _)) = text.char_indices().nth(chars * 8) {
        head = &text[..end];
    }
    let scrubbed = scrub::text(head);
    let mut line = String::with_capacity(scrubbed.len().min(chars * 4));
    for word in scrubbed
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !steers(*c)));
    }
    cut(&mut line, chars);
    line
}

/// Invisible characters that reorder or join what surrounds them (Unicode bidirectional controls and their kin).
fn steers(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}
