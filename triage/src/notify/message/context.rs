//! Where a diagnosis was made, and which part of an incident's story it is.

use std::path::PathBuf;

use jiff::Timestamp;
use leakhound_rules::Diagnosis;
use serde::{Deserialize, Serialize};

use super::line::{NAME_CHARS, SENTENCE_CHARS, clean};
use crate::notify::growth::Growth;
use crate::notify::scrub;

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
    pub(super) fn counted(&self) -> String {
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

pub(super) fn tidy(context: Context) -> Context {
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

pub(super) fn tidy_story(story: Story) -> Story {
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
