//! A real Matrix homeserver: Synapse, from PyPI, started here, spoken to over HTTP, and stopped by its own process id.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::State;
use leakhound_triage::notify::outbox::{Filter, Policy};
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{
    DestinationConfig, FailureKind, Http, Outbox, Parcel, Proof, matrix::Matrix, sample,
};
use serde_json::{Value, json};

use crate::fixtures::{leak, message, numbered, to};
use crate::group::Group;
use crate::support::{python, run};

/// A homeserver with one account and one room; stopped when dropped.
struct Homeserver {
    _server: Group,
    url: String,
    token: String,
    room: String,
    client: reqwest::Client,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Homeserver {
    async fn start(folder: &Path) -> Homeserver {
        let python = python(
            "python-matrix-synapse-1.163.2",
            &["matrix-synapse==1.163.2"],
        );
        let (config, port) = (folder.join("hs.yaml"), free_port());
        let generate = [
            "--server-name",
            "test.local",
            "--generate-config",
            "--report-stats=no",
            "--data-directory",
            ".",
        ];
        let synapse = || {
            let mut command = Command::new(&python);
            command
                .args(["-m", "synapse.app.homeserver", "--config-path"])
                .arg(&config)
                .current_dir(folder);
            command
        };
        run(synapse().args(generate)).unwrap();
        // Later keys win: the generated file listens on 8008, which may be taken.
        let mut text = std::fs::read_to_string(&config).unwrap();
        text.push_str(&format!(
            "\nlisteners: [{{port: {port}, bind_addresses: ['127.0.0.1'], type: http, resources: [{{names: [client]}}]}}]\n\
             registration_shared_secret: s3cret\ntrusted_key_servers: []\nsuppress_key_server_warning: true\n\
             rc_message: {{per_second: 0.5, burst_count: 4}}\n"
        ));
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut server = Group::start(
            synapse()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );

        let url = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(std::iter::empty())
            .build()
            .unwrap();
        let started = Instant::now();
        while client
            .get(format!("{url}/_matrix/client/versions"))
            .send()
            .await
            .is_err()
        {
            let ended = server.ended();
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "Synapse ended with {ended:?}:\n{}", log());
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "Synapse does not answer:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("Synapse answers after {:?}", started.elapsed());
        let register = python.with_file_name("register_new_matrix_user");
        run(Command::new(register).arg("-c").arg(&config).args([
            "-u",
            "bot",
            "-p",
            "pw",
            "--no-admin",
            &url,
        ]))
        .unwrap();
        let mut server = Homeserver {
            _server: server,
            url,
            token: String::new(),
            room: String::new(),
            client,
        };
        let login = json!({
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "bot" }, "password": "pw",
        });
        server.token = server.post("login", login).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        server.room = server.post("createRoom", json!({ "name": "alerts" })).await["room_id"]
            .as_str()
            .unwrap()
            .to_owned();
        server
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self
            .client
            .post(format!("{}/_matrix/client/v3/{path}", self.url))
            .json(&body);
        request
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// What the room holds, the newest first.
    async fn messages(&self) -> Vec<Value> {
        let mut url = reqwest::Url::parse(&self.url).unwrap();
        url.path_segments_mut()
            .unwrap()
            .extend(["_matrix", "client", "v3", "rooms", &self.room, "messages"]);
        url.set_query(Some("dir=b&limit=100"));
        let reply: Value = self
            .client
            .get(url)
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let events = reply["chunk"].as_array().unwrap().clone();
        events
            .into_iter()
            .filter(|event| event["type"] == "m.room.message")
            .collect()
    }

    fn destination(&self, token: &str) -> DestinationConfig {
        let token = SecretSource::inline(token);
        to(
            "room",
            Matrix {
                homeserver: self.url.clone(),
                room: self.room.clone(),
                token,
            },
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_homeserver_takes_each_message_once_and_slows_us_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = Homeserver::start(folder.path()).await;
    let room = server.destination(&server.token);
    let http = Arc::new(Http::default());

    // The same key gives the same event, as after an attempt whose answer was lost.
    let leak = message(&leak());
    let parcel = Parcel {
        key: "lh-once",
        message: &leak,
        continues: None,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let first = room.destination.send(&http, &parcel).await.unwrap();
    let again = room
        .destination
        .send(
            &http,
            &Parcel {
                maybe_sent: true,
                ..parcel
            },
        )
        .await
        .unwrap();
    assert_eq!(first.proof, Proof::Confirmed);
    assert_eq!(first.id, again.id);
    let held = server.messages().await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["event_id"].as_str(), first.id.as_deref());
    let content = &held[0]["content"];
    assert!(
        content["body"]
            .as_str()
            .unwrap()
            .contains("Owner: static Shop.Pricing.QuoteCache.Quotes"),
        "{content}"
    );
    assert!(
        content["formatted_body"]
            .as_str()
            .unwrap()
            .contains("Dictionary&lt;String, Order&gt;"),
        "{content}"
    );

    // More than the server likes: it says when to come back, and is obeyed.
    let state = State::open(folder.path()).unwrap();
    let outbox = Outbox::open(state, Arc::clone(&http), Policy::default()).unwrap();
    let started = Timestamp::now();
    for i in 0..6 {
        outbox.plan(&room, "e", &numbered(i), started).unwrap();
    }
    let mut n_refused = 0;
    while outbox.counts().unwrap().n_waiting > 0 {
        let round = outbox
            .deliver_due(std::slice::from_ref(&room), Timestamp::now())
            .await
            .unwrap();
        if round.n_retry > 0 {
            n_refused += 1;
            let waiting = outbox.list(&Filter::default()).unwrap();
            let said = waiting.iter().find_map(|e| {
                e.last_reply
                    .as_deref()
                    .filter(|r| r.contains("M_LIMIT_EXCEEDED"))
            });
            assert!(said.is_some(), "{waiting:#?}");
        }
        let late = Timestamp::now().duration_since(started) > SignedDuration::from_secs(60);
        assert!(!late, "{:#?}", outbox.list(&Filter::default()).unwrap());
        if let Some(next) = round.next_at {
            let wait = next
                .duration_since(Timestamp::now())
                .max(SignedDuration::ZERO);
            tokio::time::sleep(wait.unsigned_abs() + Duration::from_millis(5)).await;
        }
    }
    assert!(n_refused >= 1, "the server was to refuse some");
    assert!(
        n_refused <= 6,
        "{n_refused} refusals: the pauses were not kept"
    );
    let held = server.messages().await;
    assert_eq!(held.len(), 7, "each of the six once, and the first");

    // What continues an incident goes into the thread of the message that opened it.
    let follow = Parcel {
        key: "lh-follow",
        continues: first.id.as_deref(),
        ..parcel
    };
    let mut sent = room.destination.send(&http, &follow).await;
    for _ in 0..60 {
        if !matches!(&sent, Err(failure) if matches!(failure.kind, FailureKind::Retry(_))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        sent = room.destination.send(&http, &follow).await;
    }
    let id = sent.unwrap().id;
    let held = server.messages().await;
    let event = held
        .iter()
        .find(|event| event["event_id"].as_str() == id.as_deref())
        .unwrap();
    let relation = &event["content"]["m.relates_to"];
    assert_eq!(relation["rel_type"], "m.thread");
    assert_eq!(relation["event_id"].as_str(), first.id.as_deref());

    // What is wrong is said in the server's own words.
    let report = sample::send(&server.destination("wrong"), &http, Timestamp::now()).await;
    let failure = report.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.reason.contains("M_UNKNOWN_TOKEN"), "{failure}");
    println!(
        "{n_refused} refusals in {:?}",
        Timestamp::now().duration_since(started)
    );
}
