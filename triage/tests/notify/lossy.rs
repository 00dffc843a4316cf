//! Ticket systems whose requests and whose answers get lost: one ticket, every comment once, whatever is lost.
//!
//! One server plays each system as far as we speak to it: it keeps what it is given, finds it again by what a search names, and
//! loses, of each message, first the request and then the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use leakhound_archive::State;
use leakhound_triage::notify::azure_devops::AzureDevops;
use leakhound_triage::notify::github::Github;
use leakhound_triage::notify::gitlab::Gitlab;
use leakhound_triage::notify::jira::Jira;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::outbox::{EntryState, Filter, Policy};
use leakhound_triage::notify::redmine::Redmine;
use leakhound_triage::notify::request_tracker::RequestTracker;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::servicenow::Servicenow;
use leakhound_triage::notify::slack_bot::SlackBot;
use leakhound_triage::notify::{Destination, DestinationConfig, Http, Outbox};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::fixtures::{to, told};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The open ticket of a label.
    Search,
    /// A new ticket.
    Create,
    /// A comment.
    Comment,
    /// The comments that there are.
    Comments,
    /// Something that changes nothing twice.
    Other,
}

/// How one system is spoken to.
#[derive(Debug, Clone, Copy)]
pub struct System {
    pub name: &'static str,
    pub asked: fn(&Request) -> Asked,
    pub created: fn() -> Value,
    pub found: fn(Vec<Value>) -> Value,
    pub comments: fn(Vec<Value>) -> Value,
}

/// A server that plays a system.
#[derive(Debug)]
pub struct Desk {
    system: System,
    kept: Mutex<Kept>,
    /// What happens to the first attempts of a message: `-` loses the request, `+` keeps it and loses the answer.
    losses: &'static str,
}

#[derive(Debug, Default)]
struct Kept {
    tickets: Vec<Value>,
    comments: Vec<Value>,
    attempts: BTreeMap<String, usize>,
}

impl Desk {
    pub fn new(system: System, losses: &'static str) -> Arc<Self> {
        Arc::new(Desk {
            system,
            kept: Mutex::default(),
            losses,
        })
    }

    /// Numbers of tickets and of comments.
    pub fn holds(&self) -> (usize, usize) {
        let kept = self.kept.lock().unwrap();
        (kept.tickets.len(), kept.comments.len())
    }

    /// What a search for labels finds: everything that bears one that is asked for.
    fn search(&self, request: &Request) -> Vec<Value> {
        let kept = self.kept.lock().unwrap();
        let mut wanted = String::from_utf8_lossy(&request.body).into_owned();
        for (_, value) in request.url.query_pairs() {
            wanted.push(' ');
            wanted.push_str(&value);
        }
        let label = wanted
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .find(|word| word.starts_with("leakhound-"));
        let bears = |ticket: &&Value| match label {
            Some(label) => ticket.to_string().contains(label),
            // A channel is not searched: its messages are listed.
            None => self.system.name == "slack_bot",
        };
        kept.tickets.iter().filter(bears).cloned().collect()
    }
}

/// The same desk for the server and for the test.
pub struct At(pub Arc<Desk>);

impl Respond for At {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let desk = &self.0;
        let system = &desk.system;
        let ok = |body: Value| ResponseTemplate::new(200).set_body_json(body);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let asked = (system.asked)(request);
        match asked {
            Asked::Search => return ok((system.found)(desk.search(request))),
            Asked::Comments => {
                return ok((system.comments)(
                    desk.kept.lock().unwrap().comments.clone(),
                ));
            }
            Asked::Other => return ok(json!({ "ok": true })),
            Asked::Create | Asked::Comment => {}
        }
        let mut kept = desk.kept.lock().unwrap();
        let text = body.to_string();
        let key = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let key = key
            .into_iter()
            .find(|word| word.starts_with("lh-"))
            .unwrap();
        let attempts = kept.attempts.entry(key.to_owned()).or_default();
        let fate = desk.losses.as_bytes().get(*attempts).copied();
        *attempts += 1;
        // A gateway that lost the answer cannot say whether the system behind it acted.
        let lost = ResponseTemplate::new(502);
        if fate == Some(b'-') {
            return lost;
        }
        match asked {
            Asked::Create => kept.tickets.push(body),
            _ => kept.comments.push(body),
        }
        match fate {
            Some(_) => lost,
            None => ok((system.created)()),
        }
    }
}

fn has(request: &Request, part: &str) -> bool {
    request.url.path().contains(part)
}

fn posts(request: &Request) -> bool {
    request.method.as_str() == "POST"
}

fn first(found: &[Value], id: Value) -> Vec<Value> {
    found.iter().take(1).map(|_| id.clone()).collect()
}

pub const GITHUB: System = System {
    name: "github",
    asked: |r| match (posts(r), has(r, "/comments")) {
        (true, true) => Asked::Comment,
        (true, false) => Asked::Create,
        (false, true) => Asked::Comments,
        (false, false) => Asked::Search,
    },
    created: || json!({ "number": 7 }),
    found: |found| json!(first(&found, json!({ "number": 7 }))),
    comments: |comments| json!(comments),
};

const SYSTEMS: [System; 8] = [
    GITHUB,
    System {
        name: "gitlab",
        asked: |r| match (posts(r), has(r, "/notes")) {
            (true, true) => Asked::Comment,
            (true, false) => Asked::Create,
            (false, true) => Asked::Comments,
            (false, false) => Asked::Search,
        },
        created: || json!({ "iid": 7 }),
        found: |found| json!(first(&found, json!({ "iid": 7 }))),
        comments: |comments| json!(comments),
    },
    System {
        name: "jira",
        asked: |r| match (posts(r), has(r, "/comment"), has(r, "/search")) {
            (true, true, _) => Asked::Comment,
            (true, _, true) => Asked::Search,
            (true, _, false) => Asked::Create,
            (false, ..) => Asked::Comments,
        },
        created: || json!({ "key": "7" }),
        found: |found| json!({ "issues": first(&found, json!({ "key": "7" })) }),
        comments: |comments| json!({ "comments": comments }),
    },
    System {
        name: "azure_devops",
        asked: |r| match (posts(r), has(r, "/comments"), has(r, "/wiql")) {
            (true, true, _) => Asked::Comment,
            (true, _, true) => Asked::Search,
            (true, _, false) => Asked::Create,
            (false, ..) => Asked::Comments,
        },
        created: || json!({ "id": 7 }),
        found: |found| json!({ "workItems": first(&found, json!({ "id": 7 })) }),
        comments: |comments| json!({ "comments": comments }),
    },
    System {
        name: "servicenow",
        asked: |r| match (r.method.as_str(), has(r, "/incident/")) {
            ("POST", _) => Asked::Create,
            ("PATCH", _) => Asked::Comment,
            (_, true) => Asked::Comments,
            (_, false) => Asked::Search,
        },
        created: || json!({ "result": { "sys_id": "7" } }),
        found: |found| json!({ "result": first(&found, json!({ "sys_id": "7" })) }),
        comments: |comments| json!({ "result": { "work_notes": json!(comments).to_string() } }),
    },
    System {
        name: "redmine",
        asked: |r| match (r.method.as_str(), has(r, "/issues/")) {
            ("POST", _) => Asked::Create,
            ("PUT", _) => Asked::Comment,
            (_, true) => Asked::Comments,
            (_, false) => Asked::Search,
        },
        created: || json!({ "issue": { "id": 7 } }),
        found: |found| json!({ "issues": first(&found, json!({ "id": 7 })) }),
        comments: |comments| json!({ "issue": { "journals": comments } }),
    },
    System {
        name: "request_tracker",
        asked: |r| match (posts(r), has(r, "/comment"), has(r, "/attachments")) {
            (true, true, _) => Asked::Comment,
            (true, ..) => Asked::Create,
            (false, _, true) => Asked::Comments,
            (false, _, false) => Asked::Search,
        },
        created: || json!({ "id": "7" }),
        found: |found| json!({ "items": first(&found, json!({ "id": "7" })) }),
        comments: |comments| json!({ "items": comments }),
    },
    System {
        name: "slack_bot",
        asked: |r| {
            let threaded = String::from_utf8_lossy(&r.body).contains("thread_ts");
            match (
                has(r, "chat.postMessage"),
                has(r, "history"),
                has(r, "replies"),
            ) {
                (true, ..) if threaded => Asked::Comment,
                (true, ..) => Asked::Create,
                (_, true, _) => Asked::Search,
                (_, _, true) => Asked::Comments,
                _ => Asked::Other,
            }
        },
        created: || json!({ "ok": true, "ts": "7" }),
        found: slack_messages,
        comments: slack_messages,
    },
];

fn slack_messages(messages: Vec<Value>) -> Value {
    let named = messages.into_iter().map(|mut message| {
        message["ts"] = "7".into();
        message
    });
    json!({ "ok": true, "messages": named.collect::<Vec<_>>() })
}

fn destination(name: &str, url: &str) -> DestinationConfig {
    let token = || SecretSource::inline("xoxb-SECRETSECRET");
    let url = url.to_owned();
    let destination: Box<dyn FnOnce(String) -> DestinationConfig> = match name {
        "github" => Box::new(|api| {
            at(Github {
                repository: "shop/cart".to_owned(),
                api,
                token: token(),
            })
        }),
        "gitlab" => Box::new(|site| {
            at(Gitlab {
                project: "shop/cart".to_owned(),
                site,
                token: token(),
            })
        }),
        "jira" => Box::new(|site| {
            at(Jira {
                site,
                project: "SHOP".to_owned(),
                issue_type: "Bug".to_owned(),
                user: Some("bot@shop.test".to_owned()),
                token: token(),
            })
        }),
        "azure_devops" => Box::new(|organization| {
            at(AzureDevops {
                organization,
                project: "Cart".to_owned(),
                work_item: "Bug".to_owned(),
                area: None,
                closed: vec!["Done".to_owned()],
                token: token(),
            })
        }),
        "servicenow" => Box::new(|site| {
            at(Servicenow {
                site,
                user: Some("bot".to_owned()),
                token: token(),
                group: None,
            })
        }),
        "redmine" => Box::new(|site| {
            at(Redmine {
                site,
                project: "cart".to_owned(),
                tracker: None,
                key: token(),
            })
        }),
        "request_tracker" => Box::new(|site| {
            at(RequestTracker {
                site,
                queue: "General".to_owned(),
                token: token(),
            })
        }),
        "slack_bot" => Box::new(|api| {
            at(SlackBot {
                channel: "C012".to_owned(),
                token: token(),
                report: false,
                api,
            })
        }),
        other => panic!("no system is called {other}"),
    };
    destination(url)
}

fn at(destination: impl Destination + 'static) -> DestinationConfig {
    to("desk", destination)
}

/// Delivers until nothing waits, as time passes.
async fn drain(outbox: &Outbox, to: &DestinationConfig) {
    let mut now = Timestamp::now();
    for _ in 0..50 {
        let round = outbox.deliver_due(std::slice::from_ref(to), now).await;
        match round.unwrap().next_at {
            Some(next) => now = now.max(next),
            None => return,
        }
    }
    let left = outbox.list(&Filter::default()).unwrap();
    panic!("never done: {left:#?}");
}

async fn tells_its_story_once(system: System, losses: &'static str) {
    let name = format!("{} {losses:?}", system.name);
    let desk = Desk::new(system, losses);
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(At(Arc::clone(&desk)))
        .mount(&server)
        .await;
    let to = destination(system.name, &server.uri());
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let outbox = Outbox::open(state, Arc::new(Http::default()), Policy::default()).unwrap();
    for (event, turn) in [
        ("opened-1", Turn::Opened),
        ("again-1-20", Turn::Again),
        ("resolved-1", Turn::Resolved { version: None }),
    ] {
        outbox
            .plan(&to, event, &told(turn), Timestamp::now())
            .unwrap();
        drain(&outbox, &to).await;
    }
    assert_eq!(desk.holds(), (1, 2), "{name}: tickets and comments");
    for entry in outbox.list(&Filter::default()).unwrap() {
        let stands = (entry.state, entry.remote_id.as_deref());
        assert_eq!(
            stands,
            (EntryState::Confirmed, Some("7")),
            "{name}: {entry:?}"
        );
    }
}

#[tokio::test]
async fn one_ticket_and_each_comment_once_whatever_is_lost() {
    let mut cases = tokio::task::JoinSet::new();
    for system in SYSTEMS {
        for losses in ["", "-", "+", "-+"] {
            cases.spawn(tells_its_story_once(system, losses));
        }
    }
    while let Some(done) = cases.join_next().await {
        done.unwrap();
    }
}

/// Where nobody may look into a channel, a message may come twice, and says so.
#[tokio::test]
async fn a_bot_that_may_not_look_sends_again_and_says_so() {
    use wiremock::matchers::{body_string_contains, path};
    let server = MockServer::start().await;
    let no = json!({ "ok": false, "error": "missing_scope" });
    Mock::given(path("/conversations.history"))
        .respond_with(ResponseTemplate::new(200).set_body_json(no))
        .mount(&server)
        .await;
    Mock::given(body_string_contains("Sent again"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "ok": true, "ts": "8" })))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/chat.postMessage"))
        .respond_with(ResponseTemplate::new(504))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let to = destination("slack_bot", &server.uri());
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let outbox = Outbox::open(state, Arc::new(Http::default()), Policy::default()).unwrap();
    outbox
        .plan(&to, "opened-1", &told(Turn::Opened), Timestamp::now())
        .unwrap();
    drain(&outbox, &to).await;
    let entry = outbox.list(&Filter::default()).unwrap().remove(0);
    assert_eq!(entry.remote_id.as_deref(), Some("8"));
}
