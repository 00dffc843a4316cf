//! Slack, by a bot: messages of one incident stand in one thread, whose head is kept up to date, with the report as a file.
//!
//! The bot needs the scopes `chat:write`, `channels:history` (`groups:history` in a private channel) to look for a message after
//! an attempt without an answer, and `files:write` for the report; it must be a member of the channel. Every message bears its key
//! in its metadata, which people do not see.

use std::path::Path;

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::blocks;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, FailureKind, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request, json_body};
use super::scrub;
use super::secret::{SecretSource, bearer};
use super::slack::judge_api;

/// Messages that are looked through for a key.
const LATEST: &str = "50";
/// So many messages with their blocks.
const HISTORY_BYTES: usize = 4 << 20;
/// A report has less.
const REPORT_BYTES: u64 = 20 << 20;

/// `slack_bot = { channel = "C0123456789", token = { env = "…" } }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackBot {
    /// Id of the channel (its details show it), not its name.
    pub channel: String,
    /// Bot token, which begins with `xoxb-`.
    pub token: SecretSource,
    /// Whether the report goes into the thread as a file.
    #[serde(default)]
    pub report: bool,
    /// Base address of the Web API.
    #[serde(default = "web_api")]
    pub api: String,
}

fn web_api() -> String {
    "https://slack.com/api".to_owned()
}

impl Destination for SlackBot {
    fn kind(&self) -> &'static str {
        "slack_bot"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::given(&self.api, "slack_bot.api")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        let token = self.token.get("slack_bot.token")?;
        if !token.expose_secret().starts_with("xox") {
            return Err(ConfigError::Value {
                key: "slack_bot.token",
                problem: "expected a bot token, which begins with `xoxb-`".to_owned(),
            });
        }
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        if self.channel.len() < 2 || !self.channel.chars().all(plain) {
            return Err(ConfigError::Value {
                key: "slack_bot.channel",
                problem: format!(
                    "expected the id of a channel such as C0123456789, found {:?}",
                    self.channel
                ),
            });
        }
        Ok(self.token.warning("slack_bot.token").into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let mut body = blocks::payload(parcel.message, parcel.maybe_sent);
            body["channel"] = self.channel.as_str().into();
            if let Some(root) = parcel.continues {
                // First the head, since changing it twice changes nothing. One that is gone or too old to be changed is no reason
                // not to go on.
                let mut head = body.clone();
                head["ts"] = root.into();
                if let Err(failure) = self.call(http, parcel, "chat.update", head).await
                    && failure.kind != FailureKind::Permanent
                {
                    return Err(failure);
                }
                body["thread_ts"] = root.into();
            }
            body["metadata"] = json!({ "event_type": "leakhound_message", "event_payload": { "key": parcel.key } });
            let (reply, answer) = self.call(http, parcel, "chat.postMessage", body).await?;
            let Some(ts) = answer["ts"].as_str() else {
                return Err(reply.stranger("Slack names the message"));
            };
            let mut receipt = reply.confirmed(Some(ts));
            if parcel.continues.is_none()
                && self.report
                && let Some(outcome) = self.upload(http, parcel, ts).await
            {
                receipt.said.text = format!("{}; {outcome}", receipt.said.text);
            }
            Ok(receipt)
        })
    }

    fn find<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        Box::pin(async move {
            let mut query = vec![
                ("channel", self.channel.as_str()),
                ("include_all_metadata", "true"),
                ("limit", LATEST),
            ];
            let method = match parcel.continues {
                None => "conversations.history",
                Some(root) => {
                    query.push(("ts", root));
                    // Replies are listed from the oldest on: only the latest matter.
                    "conversations.replies"
                }
            };
            let since = (parcel.now.as_second() - 86_400).to_string();
            query.push(("oldest", &since));
            let (reply, answer) = match self.look(http, parcel, method, &query).await {
                Ok(answered) => answered,
                // Without the right to look, the message is sent again and says so.
                Err(failure) if failure.kind == FailureKind::Permanent => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let messages = answer["messages"].as_array().into_iter().flatten();
            let ours = |message: &&Value| message["metadata"]["event_payload"]["key"] == parcel.key;
            let found = messages.into_iter().find(ours);
            Ok(found.map(|message| reply.confirmed(message["ts"].as_str())))
        })
    }
}

impl SlackBot {
    fn headers(&self) -> Result<Vec<(&'static str, SecretString)>, ConfigError> {
        let token = self.token.get("slack_bot.token")?;
        Ok(vec![("authorization", bearer(&token))])
    }

    /// Calls a method with JSON.
    async fn call(
        &self,
        http: &Http,
        parcel: &Parcel<'_>,
        method: &str,
        body: Value,
    ) -> Result<(Reply, Value), Failure> {
        let request = Request {
            headers: self.headers()?,
            ..Request::post(self.address()?.join(&[method]), json_body(&body))
        };
        answered(http.exchange(request, parcel.now).await?)
    }

    /// Calls a method that takes no JSON.
    async fn look(
        &self,
        http: &Http,
        parcel: &Parcel<'_>,
        method: &str,
        query: &[(&str, &str)],
    ) -> Result<(Reply, Value), Failure> {
        let address = self.address()?.join(&[method]).with_query(query);
        let request = Request {
            method: Method::GET,
            headers: self.headers()?,
            reply_limit_bytes: HISTORY_BYTES,
            ..Request::post(address, Vec::new())
        };
        answered(http.exchange(request, parcel.now).await?)
    }

    /// Puts the report into the thread. The message is there already: what goes wrong here is told and not tried again.
    async fn upload(&self, http: &Http, parcel: &Parcel<'_>, thread: &str) -> Option<String> {
        let path = parcel.message.context.report.clone()?;
        let read = tokio::task::spawn_blocking(move || harmless(&path)).await;
        let report = match read.map_err(std::io::Error::other).flatten() {
            Ok(report) => report,
            Err(error) => return Some(format!("no report was added: {error}")),
        };
        Some(match self.put(http, parcel, thread, report).await {
            Ok(()) => "with its report".to_owned(),
            Err(failure) => format!("no report was added: {}", failure.reason),
        })
    }

    async fn put(
        &self,
        http: &Http,
        parcel: &Parcel<'_>,
        thread: &str,
        report: String,
    ) -> Result<(), Failure> {
        let length = report.len().to_string();
        let query = [("filename", "report.html"), ("length", length.as_str())];
        let method = "files.getUploadURLExternal";
        let (reply, place) = self.look(http, parcel, method, &query).await?;
        let (Some(url), Some(id)) = (place["upload_url"].as_str(), place["file_id"].as_str())
        else {
            return Err(reply.stranger("Slack says where a file goes"));
        };
        let request = Request {
            content_type: "application/octet-stream",
            ..Request::post(
                Address::given(url, "the address of the upload")?,
                report.into_bytes(),
            )
        };
        http.exchange(request, parcel.now).await?.success()?;
        let body = json!({
            "files": [{ "id": id, "title": parcel.message.title() }],
            "channel_id": self.channel,
            "thread_ts": thread,
        });
        self.call(http, parcel, "files.completeUploadExternal", body)
            .await
            .map(drop)
    }
}

/// The report without its secrets.
fn harmless(path: &Path) -> std::io::Result<String> {
    let n_bytes = std::fs::metadata(path)?.len();
    if n_bytes > REPORT_BYTES {
        let why = format!("it has {n_bytes} bytes, and {REPORT_BYTES} at most are sent");
        return Err(std::io::Error::other(why));
    }
    Ok(scrub::text(&std::fs::read_to_string(path)?).into_owned())
}

fn answered(reply: Reply) -> Result<(Reply, Value), Failure> {
    let reply = reply.success()?;
    let answer = reply.json()?;
    judge_api(&reply, &answer)?;
    Ok((reply, answer))
}
