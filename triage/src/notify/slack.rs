//! Slack, through an incoming webhook: Block Kit.
//!
//! Limits (Slack's reference, and bolt-js issue 2509 for the undocumented total): 50 blocks, 150 characters in a header,
//! 3000 in a section, 10 fields of 2000, and about 13 200 over all blocks, where `msg_blocks_too_long` begins. We stop
//! well before.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::config::ConfigError;
use super::destination::{
    Attempt, Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat,
};
use super::http::{Http, Reply, Request};
use super::message::Message;
use super::secret::SecretSource;

/// Characters over all blocks, escapes counted.
const TOTAL_CHARS: usize = 9_000;
const HEADER_CHARS: usize = 150;
const SECTION_CHARS: usize = 3_000;
const FIELD_CHARS: usize = 2_000;

/// `slack = { webhook = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// Address of the incoming webhook; it is a secret as a whole.
    pub webhook: SecretSource,
}

impl Destination for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Visible
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, "slack.webhook")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        Address::read(&self.webhook, "slack.webhook")?;
        Ok(self.webhook.warning("slack.webhook").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let address = Address::read(&self.webhook, "slack.webhook")?;
            let body = payload(parcel.message, parcel.maybe_sent)
                .to_string()
                .into_bytes();
            judge(
                &http
                    .exchange(Request::post(address, body), parcel.now)
                    .await?,
            )
        })
    }
}

/// The message as Slack takes it, within Slack's limits.
#[must_use]
pub fn payload(message: &Message, maybe_sent: bool) -> Value {
    let mut message = message.clone();
    loop {
        let blocks = blocks(&message, maybe_sent);
        if (blocks.iter().all(fits) && total(&blocks) <= TOTAL_CHARS) || !message.shed() {
            let text = escape(&format!("{}: {}", message.title(), message.headline));
            return json!({ "text": text, "blocks": blocks, "unfurl_links": false, "unfurl_media": false });
        }
    }
}

/// What a reply means. Slack says `ok`, or names the error in one word.
pub fn judge(reply: &Reply) -> Result<Receipt, Failure> {
    if let Some(failure) = reply.failure_by_status() {
        return Err(failure);
    }
    let said = reply.said();
    if reply.body.trim() == "ok" {
        return Ok(Receipt {
            proof: Proof::Confirmed,
            id: None,
            said,
        });
    }
    // The Web API and some proxies of it answer 200 with the error inside.
    if let Ok(answer) = serde_json::from_str::<Value>(&reply.body) {
        let error = answer
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or_default();
        return match (answer.get("ok").and_then(Value::as_bool), error) {
            (Some(true), _) => {
                let id = answer.get("ts").and_then(Value::as_str).map(str::to_owned);
                Ok(Receipt {
                    proof: Proof::Confirmed,
                    id,
                    said,
                })
            }
            (_, "ratelimited" | "rate_limited") => Err(reply.failure(
                FailureKind::Retry(reply.retry_after()),
                format!("asked to come back later: {said}"),
            )),
            (_, "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout") => {
                Err(reply.failure(
                    FailureKind::Retry(None),
                    format!("failed on Slack's side: {said}"),
                ))
            }
            _ => Err(reply.failure(FailureKind::Permanent, format!("refused: {said}"))),
        };
    }
    // A captive portal or an error page of a proxy: nothing that Slack said.
    let reason = format!("Slack answers `ok`; this reply is from something else: {said}");
    Err(reply.failure(FailureKind::Retry(None), reason))
}

fn blocks(message: &Message, maybe_sent: bool) -> Vec<Value> {
    let title = format!("{} {}", message.mark(), message.title());
    let mut blocks =
        vec![json!({ "type": "header", "text": plain(&truncate(&title, HEADER_CHARS)) })];
    let mut lead = Vec::new();
    if let Some(cause) = &message.cause {
        lead.push(format!("*{}*", escape(&cause.title)));
        let sentence = if cause.sentence.is_empty() {
            &message.headline
        } else {
            &cause.sentence
        };
        lead.push(escape(sentence));
    } else {
        lead.push(escape(&message.headline));
    }
    blocks.push(section(&lead.join("\n")));
    let fields: Vec<Value> = message
        .rows()
        .iter()
        .map(|(label, value)| mrkdwn(&format!("*{label}*\n{}", escape(value))))
        .collect();
    blocks.push(json!({ "type": "section", "fields": fields }));
    if let Some(owner) = message.owner() {
        blocks.push(section(&format!("*Owner*\n{}", code(&owner))));
    }
    let advice = message
        .cause
        .as_ref()
        .map(|cause| cause.advice.as_slice())
        .unwrap_or_default();
    if !advice.is_empty() {
        blocks.push(section(&list("What to do", "• ", advice)));
    }
    let further = message.further();
    if !further.is_empty() {
        blocks.push(section(&list("Also found", "", &further)));
    }
    if let Some(link) = &message.context.link {
        blocks.push(section(&format!(
            "*<{}|Open the report>*",
            escape(link).replace('|', "%7C")
        )));
    }
    let mut notes = Vec::new();
    if message.sample {
        notes.push("Sample sent by `leakhound notify test`: there is no incident.");
    }
    if maybe_sent {
        notes.push("Sent again: the first attempt ended without an answer.");
    }
    if !notes.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [plain(&notes.join(" "))] }));
    }
    blocks
}

fn list(label: &str, bullet: &str, lines: &[String]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{bullet}{}", escape(line)))
        .collect();
    format!("*{label}*\n{}", lines.join("\n"))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim` keeps Slack from finding channels, users and links in what is only text.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": true })
}

/// The three characters that Slack escapes. Mentions (`<!channel>`, `<@U1>`) are made of them, so none survives; the
/// marks of bold, italics, strike and code get an invisible word joiner, or `s_cache_` would turn italic.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' | '_' | '~' | '`' => escaped.extend(['\u{2060}', c]),
            '@' => escaped.extend([c, '\u{2060}']),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Names as code: besides the three characters and mentions nothing is special there, and a backtick would end it.
fn code(text: &str) -> String {
    let mut code = String::from("`");
    for c in text.chars() {
        match c {
            '&' => code.push_str("&amp;"),
            '<' => code.push_str("&lt;"),
            '>' => code.push_str("&gt;"),
            '@' => code.extend([c, '\u{2060}']),
            '`' => code.push('\''),
            _ => code.push(c),
        }
    }
    code.push('`');
    code
}

fn truncate(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some(_) => text.chars().take(chars - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn fits(block: &Value) -> bool {
    let chars = |text: &Value| text["text"].as_str().map_or(0, |text| text.chars().count());
    let fields = block["fields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    chars(&block["text"]) <= SECTION_CHARS
        && fields.len() <= 10
        && fields.iter().all(|f| chars(f) <= FIELD_CHARS)
}

fn total(blocks: &[Value]) -> usize {
    blocks
        .iter()
        .map(|block| block.to_string().chars().count())
        .sum()
}
