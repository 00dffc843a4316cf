//! kill -9 between every two steps: nothing is lost, and a receiver that knows the key sees nothing twice.
//!
//! A real process plans and delivers, and kills itself with SIGKILL at a chosen moment of a chosen message. Others follow it
//! until everything is delivered.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::State;
use leakhound_triage::notify::github::Github;
use leakhound_triage::notify::outbox::{EntryState, Filter, Moment, Policy};
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{DestinationConfig, Http, Outbox, slack::Slack};
use wiremock::matchers::{any, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{numbered, to, webhook};
use crate::lossy::{At, Desk, GITHUB};

const ENTRY: &str = "LEAKHOUND_TEST_CRASH";
const N_MESSAGES: u32 = 3;

/// Not a test of its own: the body of the processes that are killed. Without its variable it does nothing.
#[test]
fn process_that_delivers() {
    let Ok(spec) = std::env::var(ENTRY) else {
        return;
    };
    let mut spec = spec.split('|');
    let mut next = || spec.next().unwrap().to_owned();
    let (folder, url, moment, nth, late) = (next(), next(), next(), next(), next());
    let to_tickets = next() == "tickets";
    let nth: usize = nth.parse().unwrap();
    let state = State::open(folder.as_ref()).unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let outbox = Outbox::open(state, Arc::new(Http::default()), Policy::default())
        .unwrap()
        .watched(move |now, _| {
            if format!("{now:?}") == moment
                && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth
            {
                let me = std::process::id().to_string();
                Command::new("kill").args(["-9", &me]).status().unwrap();
                std::thread::sleep(Duration::from_secs(60));
            }
        });
    let both = match to_tickets {
        true => vec![tickets(&url)],
        false => vec![
            webhook("hook", &format!("{url}/hook")),
            to(
                "slack",
                Slack::at(SecretSource::inline(format!("{url}/slack"))),
            ),
        ],
    };
    let now = Timestamp::now();
    for i in 0..N_MESSAGES {
        for to in &both {
            outbox.plan(to, "e", &numbered(i), now).unwrap();
        }
    }
    let now = now + SignedDuration::from_secs(late.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(outbox.deliver_due(&both, now)).unwrap();
}

fn tickets(url: &str) -> DestinationConfig {
    to(
        "tickets",
        Github {
            repository: "shop/cart".to_owned(),
            api: url.to_owned(),
            token: SecretSource::inline("tok"),
        },
    )
}

fn run(
    folder: &tempfile::TempDir,
    url: &str,
    moment: &str,
    nth: usize,
    late_seconds: u32,
    kind: &str,
) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::process_that_delivers", "--nocapture"])
        .env(
            ENTRY,
            format!(
                "{}|{url}|{moment}|{nth}|{late_seconds}|{kind}",
                folder.path().display()
            ),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_step_loses_nothing() {
    use std::os::unix::process::ExitStatusExt;
    for moment in [
        Moment::Planned,
        Moment::Claimed,
        Moment::Answered,
        Moment::Recorded,
    ] {
        for nth in [0, 3] {
            let folder = tempfile::tempdir().unwrap();
            let server = MockServer::start().await;
            Mock::given(path_regex("^/slack"))
                .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
                .mount(&server)
                .await;
            Mock::given(any())
                .respond_with(ResponseTemplate::new(200))
                .mount(&server)
                .await;
            let (url, name) = (server.uri(), format!("{moment:?}"));
            let status = tokio::task::block_in_place(|| run(&folder, &url, &name, nth, 0, "chats"));
            assert_eq!(
                status.signal(),
                Some(9),
                "{name} {nth}: the process was to be killed, and ended with {status}"
            );

            // The lease of the killed attempt has ended by then.
            let status =
                tokio::task::block_in_place(|| run(&folder, &url, "never", 0, 600, "chats"));
            assert!(status.success(), "{name} {nth}: {status}");

            let outbox = Outbox::open(
                State::open(folder.path()).unwrap(),
                Arc::new(Http::default()),
                Policy::default(),
            )
            .unwrap();
            let entries = outbox.list(&Filter::default()).unwrap();
            assert_eq!(entries.len(), 2 * N_MESSAGES as usize);
            assert!(
                entries.iter().all(|e| e.state == EntryState::Confirmed),
                "{name} {nth}: {entries:#?}"
            );

            let mut hooks: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            let mut slacks: BTreeMap<String, usize> = BTreeMap::new();
            let (mut n_hook, mut n_slack) = (0, 0);
            for request in server.received_requests().await.unwrap() {
                let body = String::from_utf8(request.body.clone()).unwrap();
                if request.url.path() == "/hook" {
                    n_hook += 1;
                    let id = request.headers["webhook-id"].to_str().unwrap().to_owned();
                    hooks.entry(id).or_default().push(request.body);
                } else {
                    n_slack += 1;
                    let service = (0..N_MESSAGES)
                        .find(|i| body.contains(&format!("service-{i}")))
                        .unwrap();
                    let repeats = slacks.entry(format!("service-{service}")).or_default();
                    *repeats += 1;
                    // A destination that knows no key says of the second that it is one.
                    assert!(*repeats == 1 || body.contains("Sent again"), "{body}");
                }
            }
            // At least once, by key exactly once, and a repeat is the same message byte for byte.
            assert_eq!(hooks.len(), N_MESSAGES as usize, "{name} {nth}");
            assert_eq!(slacks.len(), N_MESSAGES as usize, "{name} {nth}");
            assert!(
                hooks
                    .values()
                    .all(|bodies| bodies.windows(2).all(|pair| pair[0] == pair[1]))
            );
            // Only what was under way can have gone out twice: at most one message of each destination.
            let n_extra = (n_hook + n_slack) - 2 * N_MESSAGES as usize;
            assert!(n_extra <= 2, "{name} {nth}: {n_extra} repeats");
            if moment == Moment::Planned {
                assert_eq!(n_extra, 0);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_step_makes_no_ticket_twice() {
    use std::os::unix::process::ExitStatusExt;
    for moment in [
        Moment::Planned,
        Moment::Claimed,
        Moment::Answered,
        Moment::Recorded,
    ] {
        for nth in [0, 1] {
            let folder = tempfile::tempdir().unwrap();
            let desk = Desk::new(GITHUB, "");
            let server = MockServer::start().await;
            Mock::given(any())
                .respond_with(At(Arc::clone(&desk)))
                .mount(&server)
                .await;
            let (url, name) = (server.uri(), format!("{moment:?}"));
            let start = |moment: &str, late: u32| {
                tokio::task::block_in_place(|| run(&folder, &url, moment, nth, late, "tickets"))
            };
            assert_eq!(start(&name, 0).signal(), Some(9), "{name} {nth}");
            assert!(start("never", 600).success(), "{name} {nth}");
            let n_messages = N_MESSAGES as usize;
            assert_eq!(desk.holds(), (n_messages, 0), "{name} {nth}");
        }
    }
}
