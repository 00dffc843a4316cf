//! Attempts without an answer: what each kind of destination makes of them, and what becomes of rows that make no sense.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::State;
use leakhound_triage::notify::destination::Attempt;
use leakhound_triage::notify::http::Limits;
use leakhound_triage::notify::outbox::{EntryState, Filter, Policy};
use leakhound_triage::notify::{
    ConfigError, Destination, Failure, FailureKind, Http, Outbox, Parcel, Proof, Receipt, Repeat,
    Said, secret::SecretSource, slack::Slack,
};
use wiremock::matchers::{any, body_string_contains};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, message, to, webhook};

/// A ticket system: it can be asked for a key, and sometimes creates a ticket without saying so.
#[derive(Debug, Default)]
struct Tickets {
    created: Mutex<Vec<String>>,
    n_searches: AtomicU32,
    /// Creates and then says nothing, as often as this.
    n_silent: AtomicU32,
    /// Loses the request and says nothing, as often as this.
    n_lost: AtomicU32,
}

fn receipt(id: &str) -> Receipt {
    Receipt {
        proof: Proof::Confirmed,
        id: Some(id.to_owned()),
        said: Said {
            status: 201,
            text: String::new(),
        },
    }
}

fn take_one(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

#[derive(Debug, Clone)]
struct Desk(Arc<Tickets>);

impl Destination for Desk {
    fn kind(&self) -> &'static str {
        "desk"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Search
    }

    fn address(&self) -> Result<leakhound_triage::notify::address::Address, ConfigError> {
        leakhound_triage::notify::address::Address::parse("http://127.0.0.1:9/desk").map_err(
            |problem| ConfigError::Value {
                key: "desk",
                problem,
            },
        )
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        Ok(Vec::new())
    }

    fn send<'a>(&'a self, _: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let silent = Failure::new(FailureKind::Ambiguous, "no answer");
            if take_one(&self.0.n_lost) {
                return Err(silent);
            }
            self.0.created.lock().unwrap().push(parcel.key.to_owned());
            if take_one(&self.0.n_silent) {
                Err(silent)
            } else {
                Ok(receipt("T-1"))
            }
        })
    }

    fn find<'a>(&'a self, _: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Option<Receipt>> {
        Box::pin(async move {
            self.0.n_searches.fetch_add(1, Ordering::SeqCst);
            let there = self
                .0
                .created
                .lock()
                .unwrap()
                .iter()
                .any(|key| key == parcel.key);
            Ok(there.then(|| receipt("T-found")))
        })
    }
}

fn open(folder: &tempfile::TempDir, limits: Limits) -> (Outbox, State) {
    let state = State::open(folder.path()).unwrap();
    let http = Arc::new(Http::new(limits));
    (
        Outbox::open(state.clone(), http, Policy::default()).unwrap(),
        state,
    )
}

async fn drain(outbox: &Outbox, to: &leakhound_triage::notify::DestinationConfig) {
    let mut now = Timestamp::now();
    for _ in 0..20 {
        match outbox
            .deliver_due(std::slice::from_ref(to), now)
            .await
            .unwrap()
            .next_at
        {
            Some(next) => now = next,
            None => return,
        }
    }
    panic!(
        "never done: {:#?}",
        outbox.list(&Filter::default()).unwrap()
    );
}

#[tokio::test]
async fn a_ticket_is_searched_for_before_it_is_created_again() {
    for (n_silent, n_lost, n_searches, id) in
        [(0, 0, 0, "T-1"), (1, 0, 1, "T-found"), (0, 2, 2, "T-1")]
    {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = open(&folder, Limits::default());
        let tickets = Arc::new(Tickets {
            n_silent: n_silent.into(),
            n_lost: n_lost.into(),
            ..Tickets::default()
        });
        let desk = to("desk", Desk(Arc::clone(&tickets)));
        outbox
            .plan(&desk, "e", &message(&leak()), Timestamp::now())
            .unwrap();
        drain(&outbox, &desk).await;
        assert_eq!(tickets.created.lock().unwrap().len(), 1, "one ticket");
        assert_eq!(tickets.n_searches.load(Ordering::SeqCst), n_searches);
        let entry = outbox.list(&Filter::default()).unwrap().remove(0);
        assert_eq!(
            (entry.state, entry.remote_id.as_deref()),
            (EntryState::Confirmed, Some(id))
        );
    }
}

#[tokio::test]
async fn a_chat_that_knows_no_key_is_told_that_it_is_a_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        total: Duration::from_millis(500),
        ..Limits::default()
    };
    let (outbox, _) = open(&folder, limits);
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200)
        .set_body_string("ok")
        .set_delay(Duration::from_secs(3));
    Mock::given(any())
        .respond_with(late)
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let ok = ResponseTemplate::new(200).set_body_string("ok");
    Mock::given(body_string_contains("Sent again"))
        .respond_with(ok)
        .expect(1)
        .mount(&server)
        .await;
    let slack = to("slack", Slack::at(SecretSource::inline(server.uri())));
    outbox
        .plan(&slack, "e", &message(&leak()), Timestamp::now())
        .unwrap();
    drain(&outbox, &slack).await;
    let entry = outbox.list(&Filter::default()).unwrap().remove(0);
    assert_eq!(
        (entry.state, entry.maybe_sent, entry.n_attempts),
        (EntryState::Confirmed, true, 2)
    );
}

#[tokio::test]
async fn an_attempt_whose_process_died_is_taken_up_after_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _) = open(&folder, Limits::default());
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(20));
    Mock::given(any())
        .respond_with(slow)
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let hook = webhook("hook", &server.uri());
    let now = Timestamp::now();
    outbox.plan(&hook, "e", &message(&leak()), now).unwrap();
    // The future is dropped half way, as at a shutdown.
    let hooks = [hook];
    let cut_off =
        tokio::time::timeout(Duration::from_millis(700), outbox.deliver_due(&hooks, now)).await;
    assert!(cut_off.is_err());
    let round = outbox
        .deliver_due(&hooks, now + SignedDuration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(round.n_confirmed, 0, "the lease still runs");
    let lease_end = round.next_at.unwrap();
    assert!(
        lease_end <= now + SignedDuration::from_secs(80),
        "{lease_end}"
    );
    assert_eq!(
        outbox
            .deliver_due(&hooks, lease_end)
            .await
            .unwrap()
            .n_confirmed,
        1
    );
    assert!(outbox.list(&Filter::default()).unwrap()[0].maybe_sent);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_a_dead_letter_and_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, state) = open(&folder, Limits::default());
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .expect(1)
        .mount(&server)
        .await;
    let hook = webhook("hook", &server.uri());
    for event in ["garbage", "future", "good"] {
        outbox
            .plan(&hook, event, &message(&leak()), Timestamp::now())
            .unwrap();
    }
    state
        .write("damage the outbox", |t| {
            t.execute("UPDATE outbox SET message = '{\"schema\":' WHERE event = 'garbage'", [])?;
            t.execute("UPDATE outbox SET message = json_set(message, '$.schema', 99) WHERE event = 'future'", [])
        })
        .unwrap();
    let round = outbox.deliver_due(&[hook], Timestamp::now()).await.unwrap();
    assert_eq!((round.n_dead, round.n_confirmed), (2, 1));
    let dead = outbox
        .list(&Filter {
            state: Some(EntryState::Dead),
            ..Filter::default()
        })
        .unwrap();
    assert!(
        dead[1]
            .last_reply
            .as_deref()
            .unwrap()
            .contains("cannot be read"),
        "{dead:#?}"
    );
    assert!(
        dead[0]
            .last_reply
            .as_deref()
            .unwrap()
            .contains("newer leakhound"),
        "{dead:#?}"
    );
}
