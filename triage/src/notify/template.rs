//! Words of one's own: a minijinja template that writes a message in place of the usual layout.
//!
//! The first line that it writes is the title, the others stand below it; how a line looks, and that nothing in it is markup or
//! calls somebody, remains the destination's matter. A template is tried when the configuration is read, with a message that has
//! every part and with one that has hardly any, so that it does not fail at night.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use leakhound_rules::units::format_bytes;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use super::config::ConfigError;
use super::message::{Message, Words};
use super::sample;

/// Steps a template may take; an ordinary one takes some hundred.
const FUEL: u64 = 200_000;
/// A template is a page of text.
const FILE_BYTES: u64 = 64 << 10;
const NAME: &str = "message";

/// A template that was tried.
#[derive(Debug, Clone)]
pub struct Template {
    path: PathBuf,
    environment: Arc<Environment<'static>>,
}

/// What a template may speak of.
#[derive(Serialize)]
struct View<'a> {
    title: String,
    mark: &'static str,
    headline: &'a str,
    verdict: &'a str,
    severity: &'a str,
    service: &'a str,
    node: &'a str,
    pid: Option<u32>,
    trigger: Option<&'a str>,
    link: Option<&'a str>,
    sample: bool,
    rows: Vec<Row>,
    owner: Option<String>,
    growth: Option<String>,
    also: Vec<String>,
    cause: Option<CauseView<'a>>,
    incident: Option<IncidentView<'a>>,
}

#[derive(Serialize)]
struct Row {
    label: &'static str,
    value: String,
}

#[derive(Serialize)]
struct CauseView<'a> {
    title: &'a str,
    sentence: &'a str,
    culprit: &'a str,
    category: &'a str,
    confidence: u8,
    size: String,
    bytes: u64,
    share_of_commit: Option<f64>,
    path: &'a [String],
    advice: &'a [String],
}

#[derive(Serialize)]
struct IncidentView<'a> {
    id: &'a str,
    captures: u64,
    nodes: u64,
    round: u32,
}

impl<'a> View<'a> {
    fn of(message: &'a Message) -> Self {
        let context = &message.context;
        View {
            title: message.title(),
            mark: message.mark(),
            headline: &message.headline,
            verdict: message.verdict.name(),
            severity: message.severity.name(),
            service: &context.service,
            node: &context.node,
            pid: context.pid,
            trigger: context.trigger.as_deref(),
            link: context.link.as_deref(),
            sample: message.sample,
            rows: message
                .rows()
                .into_iter()
                .map(|(label, value)| Row { label, value })
                .collect(),
            owner: message.owner(),
            growth: context.growth.as_ref().map(|growth| growth.line()),
            also: message.further(),
            cause: message.cause.as_ref().map(|cause| CauseView {
                title: &cause.title,
                sentence: &cause.sentence,
                culprit: &cause.culprit,
                category: &cause.category,
                confidence: cause.confidence,
                size: format_bytes(cause.explained_bytes as f64),
                bytes: cause.explained_bytes,
                share_of_commit: cause.share_of_commit,
                path: &cause.path,
                advice: &cause.advice,
            }),
            incident: context.incident.as_ref().map(|story| IncidentView {
                id: &story.id,
                captures: story.n_sightings,
                nodes: story.n_nodes,
                round: story.round,
            }),
        }
    }
}

impl Template {
    /// Reads and tries a template.
    ///
    /// # Errors
    /// It cannot be read, is no template, or fails on one of the two messages.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bad = |problem: String| ConfigError::Value {
            key: "template",
            problem: format!("{}: {problem}", path.display()),
        };
        let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
        if size.len() > FILE_BYTES {
            return Err(bad(format!(
                "a template has at most {FILE_BYTES} bytes, this file has {}",
                size.len()
            )));
        }
        let source = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let template = Template::parse(path, source).map_err(bad)?;
        let full = sample::message(jiff::Timestamp::UNIX_EPOCH);
        let mut bare = full.clone();
        bare.cause = None;
        bare.others.clear();
        bare.context = Default::default();
        for (message, which) in [
            (&full, "the sample message"),
            (
                &bare,
                "a message without a cause (write `{% if cause %}` around what needs one)",
            ),
        ] {
            template
                .words(message)
                .map_err(|problem| bad(format!("with {which}: {problem}")))?;
        }
        Ok(template)
    }

    fn parse(path: &Path, source: String) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| sentence(&error))?;
        Ok(Template {
            path: path.to_owned(),
            environment: Arc::new(environment),
        })
    }

    fn words(&self, message: &Message) -> Result<Words, String> {
        let template = self.environment.get_template(NAME);
        let text = template
            .and_then(|template| template.render(Serde(View::of(message))))
            .map_err(|error| sentence(&error))?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        match lines.next() {
            Some(title) => Ok(Words::new(title, lines)),
            None => Err("it writes nothing; its first line becomes the title".to_owned()),
        }
    }

    /// The message in the words of the template; as it is, should the template fail on it.
    #[must_use]
    pub fn apply(&self, message: &Message) -> Message {
        let words = self.words(message).inspect_err(|problem| {
            tracing::warn!(template = %self.path.display(), problem, "A template fails; the usual words are sent");
        });
        Message {
            words: words.ok(),
            ..message.clone()
        }
    }
}

fn sentence(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map(|line| format!("line {line}: "))
        .unwrap_or_default();
    let detail = error
        .detail()
        .map_or_else(String::new, |d| format!(": {d}"));
    let hint = match error.kind() {
        ErrorKind::UndefinedError => {
            "; there are title, mark, headline, verdict, severity, service, node, pid, trigger, link, rows, owner, \
             growth, also, cause and incident"
        }
        ErrorKind::OutOfFuel => "; it does too much work",
        _ => "",
    };
    format!("{line}{}{detail}{hint}", error.kind())
}
