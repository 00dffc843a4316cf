//! A real Request Tracker: the story of one incident in one ticket, whatever is lost on the way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use leakhound_archive::State;
use leakhound_testbed::debian;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::outbox::Policy;
use leakhound_triage::notify::request_tracker::RequestTracker;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{DestinationConfig, FailureKind, Http, Outbox, Parcel, sample};
use serde_json::Value;

use crate::fixtures::{to, told};
use crate::group::Group;
use crate::story::{World, after};

const SERVER: &str = "/usr/share/request-tracker5/libexec/rt-server";
const DATABASE: &str = "/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb";

struct Rt {
    server: Group,
    url: String,
    client: reqwest::Client,
}

impl Rt {
    /// A server with a configuration and a database of its own; the installed one is not touched.
    async fn start(folder: &Path) -> Rt {
        if !Path::new(SERVER).exists() || !Path::new(DATABASE).exists() {
            debian::install("request-tracker5 rt5-db-sqlite rt5-standalone");
        }
        let database = folder.join("rtdb");
        std::fs::copy(DATABASE, &database).unwrap_or_else(|error| {
            panic!("this test needs Debian's request-tracker5, rt5-db-sqlite and rt5-standalone: {DATABASE}: {error}")
        });
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let url = format!("http://127.0.0.1:{port}");
        let config = format!(
            "Set($rtname, 'test'); Set($WebPath, ''); Set($WebDomain, '127.0.0.1'); Set($WebPort, {port});\n\
             Set($WebBaseURL, '{url}'); Set($DatabaseType, 'SQLite'); Set($DatabaseName, '{}');\n\
             Set($DatabaseUser, ''); Set($DatabasePassword, ''); Set($MailCommand, 'testfile');\n\
             Set($LogToSTDERR, 'warning'); Set($LogToSyslog, '');\n1;\n",
            database.display()
        );
        let file = folder.join("RT_SiteConfig.pm");
        std::fs::write(&file, config).unwrap();
        let more = folder.join("RT_SiteConfig.d");
        std::fs::create_dir_all(&more).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut perl = Command::new("perl");
        perl.args([SERVER, "--host", "127.0.0.1", "--port", &port.to_string()])
            .env("RT_SITE_CONFIG", &file)
            .env("RT_SITE_CONFIG_DIR", &more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let server = Group::start(&mut perl);
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(std::iter::empty())
            .build()
            .unwrap();
        let mut rt = Rt {
            server,
            url,
            client,
        };
        let started = Instant::now();
        while rt.client.get(&rt.url).send().await.is_err() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            let ended = rt.server.ended();
            assert!(ended.is_none(), "RT ended with {ended:?}:\n{}", log());
            let late = started.elapsed() > Duration::from_secs(120);
            assert!(!late, "RT does not answer:\n{}", log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        rt
    }

    fn destination(&self, password: &str) -> DestinationConfig {
        to(
            "tickets",
            RequestTracker {
                site: self.url.clone(),
                queue: "General".to_owned(),
                token: SecretSource::inline(format!("root:{password}")),
            },
        )
    }

    async fn get(&self, path: &str) -> Value {
        self.client
            .get(format!("{}/REST/2.0/{path}", self.url))
            .basic_auth("root", Some("password"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Number of tickets there are, and subjects of everything in the first (RT folds long ones, as mail does).
    async fn holds(&self) -> (u64, Vec<String>) {
        let tickets = self.get("tickets?query=id>0").await;
        let all = self
            .get("ticket/1/attachments?fields=Subject&per_page=100")
            .await;
        let subjects = all["items"].as_array().into_iter().flatten();
        let subjects = subjects.map(|item| {
            item["Subject"]
                .as_str()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        });
        (tickets["total"].as_u64().unwrap(), subjects.collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_request_tracker_holds_one_ticket_for_one_incident() {
    let folder = tempfile::tempdir().unwrap();
    let rt = Rt::start(folder.path()).await;
    let tickets = rt.destination("password");
    let http = Arc::new(Http::default());
    let state = State::open(folder.path()).unwrap();
    let outbox = Outbox::open(state, Arc::clone(&http), Policy::default()).unwrap();
    for (event, turn) in [
        ("opened-1", Turn::Opened),
        ("again-1-20", Turn::Again),
        ("resolved-1", Turn::Resolved { version: None }),
    ] {
        let now = Timestamp::now();
        outbox.plan(&tickets, event, &told(turn), now).unwrap();
        let round = outbox
            .deliver_due(std::slice::from_ref(&tickets), now)
            .await
            .unwrap();
        assert_eq!(
            round.n_confirmed,
            1,
            "{event}: {:?}",
            outbox.list(&Default::default())
        );
    }
    let (n_tickets, subjects) = rt.holds().await;
    assert_eq!(n_tickets, 1);
    assert_eq!(subjects.len(), 3, "{subjects:?}");
    assert_eq!(
        subjects[0],
        "Memory leak in fabric:/Shop/Cart: Shop.Pricing.QuoteCache.Quotes [leakhound-3f9ac01b2d]"
    );
    assert!(
        subjects[1].starts_with("Still: ") && subjects[2].starts_with("Over: "),
        "{subjects:?}"
    );
    let content = rt.get("attachment/1").await["Content"].to_string();
    assert!(!content.is_empty() && content != "null");

    // Another node, which knows nothing of this ticket, finds it; an answer that was lost is found too.
    let opened = told(Turn::Opened);
    let parcel = Parcel {
        key: "lh-other-node",
        message: &opened,
        continues: None,
        maybe_sent: true,
        now: Timestamp::now(),
    };
    let found = tickets.destination.find(&http, &parcel).await.unwrap();
    assert_eq!(found.and_then(|receipt| receipt.id).as_deref(), Some("1"));
    let receipt = tickets.destination.send(&http, &parcel).await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some("1"));
    let again = told(Turn::Again);
    let follow = Parcel {
        message: &again,
        continues: Some("1"),
        ..parcel
    };
    assert!(
        tickets
            .destination
            .find(&http, &follow)
            .await
            .unwrap()
            .is_some()
    );
    let unknown = Parcel {
        key: "lh-never-sent",
        ..follow
    };
    assert!(
        tickets
            .destination
            .find(&http, &unknown)
            .await
            .unwrap()
            .is_none()
    );
    let (n_tickets, subjects) = rt.holds().await;
    assert_eq!((n_tickets, subjects.len()), (1, 4));

    // A leak that rolls over twenty nodes: one more ticket, with all of them in its comment.
    let world = World::new().await;
    let settings = world.settings_to(rt.destination("password"));
    world.rolls_over_twenty_nodes(&settings);
    let deliver = async |minutes: i64| {
        let to = &settings.destinations;
        let round = world.outbox().deliver_due(to, after(minutes)).await;
        round.unwrap().n_confirmed
    };
    assert_eq!(deliver(20).await, 1);
    for minutes in [60, 6 * 60, 6 * 60] {
        world.announcer().tick(&settings, after(minutes)).unwrap();
    }
    assert_eq!(deliver(6 * 60).await, 1);
    assert_eq!(rt.holds().await.0, 2, "tickets");
    let all = rt
        .get("ticket/2/attachments?fields=Subject,Content&per_page=100")
        .await;
    let items = all["items"].as_array().unwrap();
    let texts: Vec<&str> = items
        .iter()
        .filter_map(|one| one["Content"].as_str())
        .collect();
    assert_eq!(texts.len(), 2, "one ticket and one comment: {all}");
    assert!(texts[1].contains("20 captures on 20 nodes"), "{}", texts[1]);

    let report = sample::send(&rt.destination("wrong"), &http, Timestamp::now()).await;
    let failure = report.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
}
