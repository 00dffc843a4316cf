//! What reaches a destination, when, and in whose words; nothing that waits is lost.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::State;
use leakhound_rules::Severity;
use leakhound_triage::notify::outbox::{EntryState, Filter, Planned, Policy};
use leakhound_triage::notify::{DestinationConfig, Http, Message, Outbox, blocks, teams};
use serde_json::Value;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{KEY, leak, message, numbered};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn parse(text: &str) -> Result<DestinationConfig, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

struct World {
    folder: tempfile::TempDir,
    server: MockServer,
    to: DestinationConfig,
}

impl World {
    /// A webhook with these lines in its block.
    async fn new(lines: &str) -> World {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(204))
            .mount(&server)
            .await;
        let text = format!(
            "name = \"hook\"\n{lines}\nwebhook = {{ url = \"{}\", secret = \"{KEY}\" }}\n",
            server.uri()
        );
        World {
            folder: tempfile::tempdir().unwrap(),
            to: parse(&text).unwrap(),
            server,
        }
    }

    /// As after a start of the program.
    fn outbox(&self) -> Outbox {
        let state = State::open(self.folder.path()).unwrap();
        Outbox::open(state, Arc::new(Http::default()), Policy::default()).unwrap()
    }

    fn plan(&self, message: &Message, now: Timestamp) -> Planned {
        self.outbox().plan(&self.to, "e", message, now).unwrap()
    }

    /// How many arrive at this time, and when there is something to do next.
    async fn deliver(&self, now: Timestamp) -> (usize, Option<Timestamp>) {
        let before = self.arrived().await.len();
        let to = std::slice::from_ref(&self.to);
        let round = self.outbox().deliver_due(to, now).await.unwrap();
        (self.arrived().await.len() - before, round.next_at)
    }

    async fn arrived(&self) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        let data = |request: &wiremock::Request| {
            serde_json::from_slice::<Value>(&request.body).unwrap()["data"].clone()
        };
        requests.iter().map(data).collect()
    }
}

fn warning(i: u32) -> Message {
    let mut message = numbered(i);
    message.severity = Severity::Warning;
    message
}

#[tokio::test]
async fn a_message_waits_for_the_end_of_quiet_hours_and_a_critical_one_does_not() {
    let quiet = "quiet = { from = \"22:00\", to = \"07:00\", zone = \"Europe/Berlin\" }";
    let world = World::new(quiet).await;
    let night = at("2026-11-30T23:00:00Z");
    let morning = at("2026-12-01T06:00:00Z");
    world.plan(&warning(1), night);
    assert_eq!(world.deliver(night).await, (0, Some(morning)));
    world.plan(&numbered(2), night);
    assert_eq!(world.deliver(night).await, (1, Some(morning)));
    assert_eq!(world.deliver(morning).await, (1, None));
    world.plan(&warning(3), morning);
    assert_eq!(world.deliver(morning).await, (1, None));
}

#[tokio::test]
async fn a_limit_delays_and_loses_nothing() {
    let world = World::new("limit = \"2 per hour\"").await;
    let start = at("2026-11-30T12:00:00Z");
    for i in 0..5 {
        world.plan(&warning(i), start);
    }
    let mut now = start;
    let mut arrived = Vec::new();
    for _ in 0..20 {
        let (n, next) = world.deliver(now).await;
        arrived.push((now, n));
        match next {
            Some(next) => now = next,
            None => break,
        }
    }
    let total: usize = arrived.iter().map(|(_, n)| n).sum();
    assert_eq!(total, 5, "{arrived:?}");
    for (from, _) in &arrived {
        let until = *from + SignedDuration::from_mins(59);
        let within = arrived.iter().filter(|(at, _)| at >= from && *at < until);
        let n: usize = within.map(|(_, n)| n).sum();
        assert!(n <= 2, "{n} within an hour of {from}: {arrived:?}");
    }
}

#[tokio::test]
async fn a_digest_tells_of_several_once() {
    let digest = "digest = { at = \"08:00\", zone = \"UTC\" }";
    let world = World::new(digest).await;
    let evening = at("2026-11-30T20:00:00Z");
    let morning = at("2026-12-01T08:00:00Z");
    for i in [1, 2, 3] {
        world.plan(&warning(i), evening);
    }
    assert_eq!(world.deliver(evening).await, (0, Some(morning)));
    assert_eq!(world.deliver(morning).await, (1, None));
    let told = world.arrived().await.remove(0);
    assert_eq!(told["title"], "Digest: 3 messages about 3 services");
    let text = told["text"].as_str().unwrap();
    for i in [1, 2, 3] {
        let line =
            format!("🟠 Memory leak in service-{i}: Shop.Pricing.QuoteCache.Quotes keeps 1.21 GB");
        assert!(text.contains(&line), "{text}");
    }
    // What was part of it is known, and not planned again.
    assert!(matches!(
        world.plan(&warning(2), morning),
        Planned::Known(_)
    ));
    let entries = world.outbox().list(&Filter::default()).unwrap();
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|e| e.state != EntryState::Planned));

    // One alone is itself; what is critical does not wait.
    world.plan(&warning(4), morning);
    world.plan(&numbered(5), morning);
    assert_eq!(world.deliver(morning).await.0, 1);
    let next = at("2026-12-02T08:00:00Z");
    assert_eq!(world.deliver(next).await, (1, None));
    let told = world.arrived().await.remove(2);
    assert_eq!(told["title"], "Memory leak in service-4");
}

#[tokio::test]
async fn what_waits_for_a_digest_goes_out_when_there_is_none_any_more() {
    let mut world = World::new("digest = { at = \"08:00\", zone = \"UTC\" }").await;
    let evening = at("2026-11-30T20:00:00Z");
    world.plan(&warning(1), evening);
    world.plan(&warning(2), evening);
    world.to.route.digest = None;
    let morning = at("2026-12-01T08:00:00Z");
    assert_eq!(world.deliver(morning).await, (2, None));
}

#[test]
fn a_digest_has_no_place_where_each_incident_has_an_entry() {
    let digest = "digest = { at = \"08:00\" }";
    for kind in [
        "github = { repository = \"a/b\", token = { env = \"X\" } }",
        "pagerduty = { routing_key = { env = \"X\" } }",
        "service_fabric = { gateway = \"http://localhost:19080\" }",
    ] {
        let error = parse(&format!("name = \"a\"\n{digest}\n{kind}")).unwrap_err();
        assert!(error.contains("one entry for each incident"), "{error}");
    }
}

#[tokio::test]
async fn services_and_categories_choose() {
    let world = World::new("services = [\"fabric:/Shop/*\"]\ncategories = [\"static-root\"]").await;
    let now = at("2026-11-30T20:00:00Z");
    assert!(matches!(
        world.plan(&message(&leak()), now),
        Planned::New(_)
    ));
    assert_eq!(world.plan(&numbered(1), now), Planned::Elsewhere);
    let mut other = message(&leak());
    other.cause.as_mut().unwrap().category = "thread-leak".to_owned();
    assert_eq!(world.plan(&other, now), Planned::Elsewhere);
    // What could not be judged has no category, and everybody hears of it.
    other.cause = None;
    assert!(matches!(world.plan(&other, now), Planned::New(_)));
}

fn template(text: &str) -> Result<DestinationConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("words.txt");
    std::fs::write(&file, text).unwrap();
    parse(&format!(
        "name = \"a\"\ntemplate = \"{}\"\nslack = {{ webhook = {{ env = \"X\" }} }}",
        file.display()
    ))
}

#[test]
fn a_template_writes_the_words_and_the_destination_keeps_them_harmless() {
    let to = template(
        "{{ mark }} {{ service }} <!channel>\n\
         {% if cause %}\n{{ cause.size }} kept by {{ cause.culprit }}, {{ cause.confidence }}% sure\n\
         {% for step in cause.advice %}\n- {{ step }}\n{% endfor %}\n{% endif %}\n\
         Password={{ \"hunter2hunter2\" }};\n",
    )
    .unwrap();
    let dressed = to.dress(&message(&leak()));
    assert_eq!(dressed.title(), "🔴 fabric:/Shop/Cart <!channel>");
    let words = dressed.words.as_ref().unwrap();
    assert_eq!(
        words.lines[0],
        "1.21 GB kept by Shop.Pricing.QuoteCache.Quotes, 92% sure"
    );
    assert_eq!(words.lines[1], "- Bound the cache, or let entries expire.");
    let slack = blocks::payload(&dressed, false).to_string();
    assert!(
        slack.contains("1.21 GB kept by") && slack.contains("|Open the report>"),
        "{slack}"
    );
    // A header is plain text, and there nothing is a mention; everywhere else it would be one.
    let sections = &blocks::payload(&dressed, false)["blocks"]
        .as_array()
        .unwrap()[1..]
        .to_vec();
    assert!(
        !serde_json::to_string(sections)
            .unwrap()
            .contains("<!channel>")
    );
    let card = teams::card(&dressed, false).to_string();
    for payload in [&slack, &card] {
        assert!(!payload.contains("hunter2"), "{payload}");
    }
    // What is found again is found again whatever the words are.
    assert_eq!(dressed.fingerprint(), message(&leak()).fingerprint());
}

#[test]
fn a_template_is_tried_when_it_is_read() {
    for (text, expected) in [
        ("{{ title", "line 1"),
        ("a\n{{ servce }}", "line 2: undefined value"),
        ("{{ servce }}", "there are title, mark, headline"),
        ("{{ cause.title }}", "without a cause"),
        ("\n \n", "writes nothing"),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "too much work",
        ),
        ("{% include \"/etc/passwd\" %}", "template"),
    ] {
        let error = template(text).unwrap_err();
        assert!(
            error.contains("words.txt") && error.contains(expected),
            "{text}: {error}"
        );
    }
    let missing =
        "name = \"a\"\ntemplate = \"/no/such/file\"\nslack = { webhook = { env = \"X\" } }";
    assert!(parse(missing).unwrap_err().contains("/no/such/file"));
}
