//! The outbox over time: what waits, what is tried again and when, what is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::State;
use leakhound_rules::Severity;
use leakhound_triage::notify::outbox::{EntryState, Filter, OutboxError, Planned, Policy};
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{DestinationConfig, Http, Outbox, slack::Slack};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, message, numbered, to, webhook};

fn open(folder: &tempfile::TempDir, policy: Policy) -> Outbox {
    Outbox::open(
        State::open(folder.path()).unwrap(),
        Arc::new(Http::default()),
        policy,
    )
    .unwrap()
}

fn start() -> Timestamp {
    "2026-11-22T20:00:00Z".parse().unwrap()
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time + SignedDuration::from_secs(seconds)
}

fn states(outbox: &Outbox) -> Vec<EntryState> {
    outbox
        .list(&Filter::default())
        .unwrap()
        .iter()
        .rev()
        .map(|entry| entry.state)
        .collect()
}

async fn slack(server: &MockServer) -> DestinationConfig {
    to(
        "slack",
        Slack::at(SecretSource::inline(format!(
            "{}/services/hidden",
            server.uri()
        ))),
    )
}

#[tokio::test]
async fn the_same_is_planned_once() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let (hook, other) = (
        webhook("a", "http://127.0.0.1:1/"),
        webhook("b", "http://127.0.0.1:1/"),
    );
    let leak = message(&leak());
    let Planned::New(key) = outbox.plan(&hook, "capture-1", &leak, start()).unwrap() else {
        panic!("not new")
    };
    assert_eq!(
        outbox
            .plan(&hook, "capture-1", &leak, after(start(), 9))
            .unwrap(),
        Planned::Known(key)
    );
    assert!(matches!(
        outbox.plan(&hook, "capture-2", &leak, start()).unwrap(),
        Planned::New(_)
    ));
    assert!(matches!(
        outbox.plan(&other, "capture-1", &leak, start()).unwrap(),
        Planned::New(_)
    ));
    assert!(matches!(
        outbox
            .plan(&hook, "capture-1", &numbered(1), start())
            .unwrap(),
        Planned::New(_)
    ));
    let floor = DestinationConfig {
        min_severity: Severity::Critical,
        ..hook
    };
    let mut mild = leak.clone();
    mild.severity = Severity::Warning;
    assert_eq!(
        outbox.plan(&floor, "capture-3", &mild, start()).unwrap(),
        Planned::BelowFloor
    );
    assert_eq!(outbox.counts().unwrap().n_waiting, 4);
    let each = outbox.counts_by_destination().unwrap();
    let waiting: Vec<(&str, u64)> = each.iter().map(|(d, c)| (&**d, c.n_waiting)).collect();
    assert_eq!(waiting, [("a", 3), ("b", 1)]);
    assert_eq!(each["a"].oldest_waiting, Some(start()));
}

#[tokio::test]
async fn an_unreachable_webhook_keeps_the_message_and_gets_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    // A port that was free a moment ago, and is a server later.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hook = webhook("hook", &format!("http://{address}/"));
    outbox.plan(&hook, "e", &message(&leak()), start()).unwrap();

    let round = outbox
        .deliver_due(std::slice::from_ref(&hook), start())
        .await
        .unwrap();
    assert_eq!((round.n_retry, round.n_confirmed), (1, 0));
    let next = round.next_at.unwrap();
    assert!(
        next >= after(start(), 12) && next <= after(start(), 20),
        "{next}"
    );
    let entry = &outbox.list(&Filter::default()).unwrap()[0];
    assert_eq!(
        (entry.state, entry.n_attempts, entry.maybe_sent),
        (EntryState::Planned, 1, false)
    );
    assert!(
        entry
            .last_reply
            .as_deref()
            .unwrap()
            .contains("cannot reach http://127.0.0.1"),
        "{entry:?}"
    );

    // Too early: nothing is tried.
    let round = outbox
        .deliver_due(std::slice::from_ref(&hook), after(start(), 5))
        .await
        .unwrap();
    assert_eq!((round.n_retry, round.n_confirmed), (0, 0));

    // The process is restarted, the server is back, the time has come.
    drop(outbox);
    let outbox = open(&folder, Policy::default());
    let server = MockServer::builder()
        .listener(std::net::TcpListener::bind(address).unwrap())
        .start()
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .expect(1)
        .mount(&server)
        .await;
    let round = outbox
        .deliver_due(std::slice::from_ref(&hook), next)
        .await
        .unwrap();
    assert_eq!((round.n_confirmed, round.next_at), (1, None));
    assert_eq!(states(&outbox), [EntryState::Confirmed]);
    // Delivered is delivered.
    assert_eq!(
        outbox
            .deliver_due(&[hook], after(next, 90_000))
            .await
            .unwrap()
            .n_confirmed,
        0
    );
}

#[tokio::test]
async fn retry_after_is_honored_and_holds_the_whole_destination() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "1800");
    Mock::given(any())
        .respond_with(busy)
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    let slack = slack(&server).await;
    for i in 0..3 {
        outbox.plan(&slack, "e", &numbered(i), start()).unwrap();
    }
    let round = outbox
        .deliver_due(std::slice::from_ref(&slack), start())
        .await
        .unwrap();
    assert_eq!((round.n_retry, round.n_confirmed), (1, 0));
    let next = round.next_at.unwrap();
    assert!(
        next >= after(start(), 1800) && next <= after(start(), 1803),
        "{next}"
    );
    // A message planned meanwhile waits as well.
    outbox
        .plan(&slack, "e", &numbered(9), after(start(), 60))
        .unwrap();
    let round = outbox
        .deliver_due(std::slice::from_ref(&slack), after(start(), 1799))
        .await
        .unwrap();
    assert_eq!(round.n_confirmed, 0);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    let round = outbox
        .deliver_due(std::slice::from_ref(&slack), after(start(), 1810))
        .await
        .unwrap();
    assert_eq!(round.n_confirmed, 4);
}

#[tokio::test]
async fn a_message_that_fails_does_not_block_the_others_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let server = MockServer::start().await;
    let poison = wiremock::matchers::body_string_contains("service-0");
    Mock::given(poison)
        .respond_with(ResponseTemplate::new(500))
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let hook = webhook("hook", &server.uri());
    for i in 0..4 {
        outbox.plan(&hook, "e", &numbered(i), start()).unwrap();
    }
    let mut now = start();
    while outbox.counts().unwrap().n_delivered < 3 {
        now = outbox
            .deliver_due(std::slice::from_ref(&hook), now)
            .await
            .unwrap()
            .next_at
            .unwrap();
        assert!(now < after(start(), 60), "{now}");
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_becomes_a_dead_letter_and_can_be_revived() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let server = MockServer::start().await;
    let fail = ResponseTemplate::new(500).set_body_string("database down");
    Mock::given(any()).respond_with(fail).mount(&server).await;
    let slack = slack(&server).await;
    outbox
        .plan(&slack, "e", &message(&leak()), start())
        .unwrap();
    let (mut now, mut n_attempts) = (start(), 0);
    loop {
        let round = outbox
            .deliver_due(std::slice::from_ref(&slack), now)
            .await
            .unwrap();
        n_attempts += round.n_retry + round.n_dead;
        match round.next_at {
            Some(next) => now = next,
            None => break,
        }
    }
    // 15 s doubling to 1 h: about 80 attempts in three days.
    assert!((70..100).contains(&n_attempts), "{n_attempts}");
    assert!(
        now >= after(start(), 3 * 86_400) && now < after(start(), 3 * 86_400 + 2 * 3600),
        "{now}"
    );
    let filter = Filter {
        state: Some(EntryState::Dead),
        ..Filter::default()
    };
    let dead = outbox.list(&filter).unwrap();
    let reply = dead[0].last_reply.as_deref().unwrap();
    assert!(
        reply.contains("given up after 3.0 days") && reply.contains("500 database down"),
        "{reply}"
    );
    assert!(!format!("{dead:?}").contains("hidden"));

    server.reset().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    assert_eq!(outbox.revive("slack", now).unwrap(), 1);
    assert_eq!(
        outbox.deliver_due(&[slack], now).await.unwrap().n_confirmed,
        1
    );
    assert_eq!(outbox.revive("slack", now).unwrap(), 0);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_removed_destination_is_given_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(400).set_body_string("invalid_payload"))
        .mount(&server)
        .await;
    let slack = slack(&server).await;
    outbox
        .plan(&slack, "e", &message(&leak()), start())
        .unwrap();
    assert_eq!(
        outbox
            .deliver_due(std::slice::from_ref(&slack), start())
            .await
            .unwrap()
            .n_dead,
        1
    );

    let removed = webhook("removed", "http://127.0.0.1:1/");
    outbox
        .plan(&removed, "e", &message(&leak()), start())
        .unwrap();
    assert_eq!(
        outbox
            .deliver_due(std::slice::from_ref(&slack), after(start(), 86_400))
            .await
            .unwrap()
            .n_dead,
        0
    );
    assert_eq!(
        outbox
            .deliver_due(&[slack], after(start(), 4 * 86_400))
            .await
            .unwrap()
            .n_dead,
        1
    );
    assert_eq!(states(&outbox), [EntryState::Dead, EntryState::Dead]);
    assert_eq!(outbox.prune(after(start(), 80 * 86_400)).unwrap(), 0);
    assert_eq!(outbox.prune(after(start(), 100 * 86_400)).unwrap(), 2);
}

#[tokio::test]
async fn a_missing_secret_keeps_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    let file = folder.path().join("webhook");
    let slack = to("slack", Slack::at(SecretSource::file(&file)));
    outbox
        .plan(&slack, "e", &message(&leak()), start())
        .unwrap();
    let round = outbox
        .deliver_due(std::slice::from_ref(&slack), start())
        .await
        .unwrap();
    assert_eq!(round.n_retry, 1);
    std::fs::write(&file, format!("{}/services/x\n", server.uri())).unwrap();
    let round = outbox
        .deliver_due(&[slack], round.next_at.unwrap())
        .await
        .unwrap();
    assert_eq!(round.n_confirmed, 1);
}

#[tokio::test]
async fn a_slow_destination_does_not_delay_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Policy::default());
    let (slow, fast) = (MockServer::start().await, MockServer::start().await);
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(2));
    Mock::given(any()).respond_with(late).mount(&slow).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&fast)
        .await;
    let both = [webhook("slow", &slow.uri()), webhook("fast", &fast.uri())];
    for to in &both {
        outbox.plan(to, "e", &message(&leak()), start()).unwrap();
    }
    let round = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.deliver_due(&both, start()).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent: Vec<_> = outbox
        .list(&Filter::default())
        .unwrap()
        .into_iter()
        .map(|e| (e.destination, e.state))
        .collect();
    assert_eq!(
        sent,
        [
            ("fast".into(), EntryState::Confirmed),
            ("slow".into(), EntryState::Sending)
        ]
    );
    assert_eq!(round.await.unwrap().n_confirmed, 2);
}

#[tokio::test]
async fn several_agents_on_one_database_send_each_message_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    let at_once = Arc::new(AtomicUsize::new(0));
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_millis(5)))
        .mount(&server)
        .await;
    let hook = webhook("hook", &server.uri());
    let planner = open(&folder, Policy::default());
    for i in 0..40 {
        planner.plan(&hook, "e", &numbered(i), start()).unwrap();
    }
    // Own connections: as separate processes would have.
    let agents: Vec<_> = (0..4)
        .map(|_| {
            let at_once = Arc::clone(&at_once);
            let outbox = open(&folder, Policy::default()).watched(move |moment, _| {
                use leakhound_triage::notify::outbox::Moment;
                match moment {
                    Moment::Claimed => assert_eq!(
                        at_once.fetch_add(1, Ordering::SeqCst),
                        0,
                        "one attempt at a time"
                    ),
                    Moment::Answered => assert_eq!(at_once.fetch_sub(1, Ordering::SeqCst), 1),
                    Moment::Planned | Moment::Recorded => {}
                }
            });
            let hook = hook.clone();
            tokio::spawn(async move {
                while outbox.counts().unwrap().n_waiting > 0 {
                    outbox
                        .deliver_due(std::slice::from_ref(&hook), start())
                        .await
                        .unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for agent in agents {
        agent.await.unwrap();
    }
    let mut ids: Vec<String> = server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .map(|request| request.headers["webhook-id"].to_str().unwrap().to_owned())
        .collect();
    ids.sort();
    assert_eq!(ids.len(), 40);
    ids.dedup();
    assert_eq!(ids.len(), 40, "each message once");
}

#[tokio::test]
async fn a_flood_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(
        &folder,
        Policy {
            waiting_limit: 3,
            ..Policy::default()
        },
    );
    let hook = webhook("hook", "http://127.0.0.1:1/");
    for i in 0..3 {
        outbox.plan(&hook, "e", &numbered(i), start()).unwrap();
    }
    assert!(matches!(
        outbox.plan(&hook, "e", &numbered(3), start()),
        Err(OutboxError::Full { limit: 3 })
    ));
    // What is known already is no flood.
    assert!(matches!(
        outbox.plan(&hook, "e", &numbered(0), start()).unwrap(),
        Planned::Known(_)
    ));
    assert_eq!(outbox.counts().unwrap().n_waiting, 3);
}
