//! An incident from its first capture to its end, through the real outbox to a real server: one message per turn, none twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::bundle::{DIAGNOSIS_FILE, SHEET_FILE};
use leakhound_archive::{Archive, Bundle, Manifest, State};
use leakhound_rules::{Diagnosis, FactSheet, RuleSet, Verdict};
use leakhound_triage::agent::Settings;
use leakhound_triage::announce::Announcer;
use leakhound_triage::diagnose::Judged;
use leakhound_triage::incidents::{self, Incidents, Query};
use leakhound_triage::notify::outbox::Policy;
use leakhound_triage::notify::{DestinationConfig, Http, Outbox};
use leakhound_triage::worker::WalkLimits;
use serde_json::Value;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, webhook};

const CART: &str = "fabric:/Shop/Cart";

struct World {
    folder: tempfile::TempDir,
    server: MockServer,
}

impl World {
    async fn new() -> Self {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(204))
            .mount(&server)
            .await;
        World {
            folder: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn archive(&self) -> Arc<Archive> {
        Arc::new(Archive::open_or_create(self.folder.path()).unwrap())
    }

    fn state(&self) -> State {
        State::open(self.folder.path()).unwrap()
    }

    fn outbox(&self) -> Outbox {
        Outbox::open(self.state(), Arc::new(Http::default()), Policy::default()).unwrap()
    }

    /// As after a start of the program: nothing is remembered but what is on disk.
    fn announcer(&self) -> Announcer {
        Announcer::new(
            self.archive(),
            Incidents::open(self.state()).unwrap(),
            self.outbox(),
        )
    }

    fn hook(&self) -> DestinationConfig {
        webhook("hook", &self.server.uri())
    }

    fn settings(&self) -> Settings {
        Settings {
            limits: WalkLimits::default(),
            rules: RuleSet::shipped(),
            destinations: vec![self.hook()],
            routes: BTreeMap::new(),
            parameters: BTreeMap::new(),
            incidents: incidents::Policy::default(),
            link: None,
        }
    }

    /// A capture that was sealed and judged.
    fn captured(
        &self,
        node: &str,
        version: &str,
        at: Timestamp,
        diagnosis: Diagnosis,
    ) -> (Bundle, Judged) {
        let archive = self.archive();
        let writer = archive.begin(CART, at, node, 4711).unwrap();
        writer.put(SHEET_FILE, b"{\"schema\":1}").unwrap();
        let bundle = writer.seal(Manifest::default()).unwrap();
        let text = serde_json::to_vec(&diagnosis).unwrap();
        archive.put_file(&bundle, DIAGNOSIS_FILE, &text).unwrap();
        let mut sheet = FactSheet::default();
        sheet.subject.version = Some(version.to_owned());
        (bundle, Judged { sheet, diagnosis })
    }

    /// Delivers, and returns what arrived since the last time.
    async fn delivered(&self, now: Timestamp) -> Vec<Value> {
        self.outbox()
            .deliver_due(&[self.hook()], now)
            .await
            .unwrap();
        let all = self.server.received_requests().await.unwrap();
        self.server.reset().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(204))
            .mount(&self.server)
            .await;
        all.iter()
            .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["data"].clone())
            .collect()
    }
}

fn start() -> Timestamp {
    "2026-11-22T20:00:00Z".parse().unwrap()
}

fn after(minutes: i64) -> Timestamp {
    start() + SignedDuration::from_mins(minutes)
}

#[tokio::test]
async fn a_leak_that_rolls_over_twenty_nodes_is_one_incident() {
    let world = World::new().await;
    let settings = world.settings();
    for n in 0..20 {
        let at = after(n);
        let (bundle, judged) = world.captured(&format!("node-{n}"), "2.3", at, leak());
        // Each capture is judged by a process of its own, and every third job is done twice, as after a crash.
        for _ in 0..=i64::from(n % 3 == 0) {
            world
                .announcer()
                .judged(&bundle, &judged, &settings, at)
                .unwrap();
        }
    }
    let first = world.delivered(after(20)).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["incident"]["turn"], "opened");
    assert_eq!(
        first[0]["node"], "node-07",
        "the words of the first capture"
    );

    world.announcer().tick(&settings, after(60)).unwrap();
    assert_eq!(world.delivered(after(60)).await.len(), 0);
    for _ in 0..2 {
        world.announcer().tick(&settings, after(6 * 60)).unwrap();
    }
    let second = world.delivered(after(6 * 60)).await;
    assert_eq!(second.len(), 1);
    let story = &second[0]["incident"];
    assert_eq!(
        (&story["turn"], &story["n_sightings"], &story["n_nodes"]),
        (&"again".into(), &20.into(), &20.into())
    );
    let title = second[0]["title"].as_str().unwrap();
    assert_eq!(title, "Still: Memory leak in fabric:/Shop/Cart");
    let text = second[0]["text"].as_str().unwrap();
    assert!(text.contains("20 captures on 20 nodes"), "{text}");
}

#[tokio::test]
async fn a_fix_that_holds_ends_it_and_a_relapse_says_what_was_thought() {
    let world = World::new().await;
    let settings = world.settings();
    let (bundle, judged) = world.captured("node-1", "2.3", start(), leak());
    world
        .announcer()
        .judged(&bundle, &judged, &settings, start())
        .unwrap();
    assert_eq!(world.delivered(start()).await.len(), 1);

    // The next version is healthy for two watched weeks.
    let mut healthy = leak();
    healthy.verdict = Verdict::Healthy;
    healthy.findings.clear();
    let (bundle, judged) = world.captured("node-1", "2.4", after(30), healthy);
    world
        .announcer()
        .judged(&bundle, &judged, &settings, after(30))
        .unwrap();
    let two_weeks = 14 * 24 * 60;
    let announcer = world.announcer();
    for minutes in (0..=two_weeks).step_by(10) {
        announcer.tick(&settings, after(minutes)).unwrap();
    }
    let over = world.delivered(after(two_weeks)).await;
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(
        over[0]["title"],
        "Over in 2.4: Memory leak in fabric:/Shop/Cart"
    );
    let incidents = Incidents::open(world.state()).unwrap();
    assert!(incidents.list(&Query::default()).unwrap().is_empty());

    let later = after(two_weeks + 60);
    let (bundle, judged) = world.captured("node-2", "2.5", later, leak());
    announcer
        .judged(&bundle, &judged, &settings, later)
        .unwrap();
    let back = world.delivered(later).await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        back[0]["title"],
        "Back, though thought fixed in 2.4: Memory leak in fabric:/Shop/Cart"
    );
}
