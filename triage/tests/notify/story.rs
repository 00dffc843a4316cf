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

pub struct World {
    folder: tempfile::TempDir,
    server: MockServer,
}

impl World {
    pub async fn new() -> Self {
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

    pub fn outbox(&self) -> Outbox {
        Outbox::open(self.state(), Arc::new(Http::default()), Policy::default()).unwrap()
    }

    /// As after a start of the program: nothing is remembered but what is on disk.
    pub fn announcer(&self) -> Announcer {
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
        self.settings_to(self.hook())
    }

    pub fn settings_to(&self, destination: DestinationConfig) -> Settings {
        Settings {
            limits: WalkLimits::default(),
            rules: RuleSet::shipped().into(),
            destinations: vec![destination],
            routes: BTreeMap::new(),
            incidents: incidents::Policy::default(),
            link: None,
        }
    }

    /// The leak on node after node, a minute apart. Each capture is judged by a process of its own, and every third job is done
    /// twice, as after a crash.
    pub fn rolls_over_twenty_nodes(&self, settings: &Settings) {
        for n in 0..20 {
            let at = after(n);
            let (bundle, judged) = self.captured(&format!("node-{n}"), "2.3", at, leak());
            for _ in 0..=i64::from(n % 3 == 0) {
                self.announcer()
                    .judged(&bundle, &judged, settings, at)
                    .unwrap();
            }
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

pub fn after(minutes: i64) -> Timestamp {
    start() + SignedDuration::from_mins(minutes)
}

#[tokio::test]
async fn a_leak_that_rolls_over_twenty_nodes_is_one_incident() {
    let world = World::new().await;
    let settings = world.settings();
    world.rolls_over_twenty_nodes(&settings);
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

#[tokio::test]
async fn the_line_of_growth_is_that_of_one_node() {
    let world = World::new().await;
    let settings = world.settings();
    let sizes = [300_000_000u64, 600_000_000, 1_200_000_000];
    for (i, bytes) in sizes.into_iter().enumerate() {
        let minutes = i64::try_from(i).unwrap() * 60;
        for (node, bytes) in [("node-1", bytes), ("node-2", 200_000_000)] {
            let mut diagnosis = leak();
            diagnosis.subject.node = node.to_owned();
            diagnosis.findings[0].explained_bytes = bytes;
            let (bundle, judged) = world.captured(node, "2.3", after(minutes), diagnosis);
            world
                .announcer()
                .judged(&bundle, &judged, &settings, after(minutes))
                .unwrap();
        }
    }
    // Twice as much is worse, and told at once.
    let told = world.delivered(after(130)).await;
    let of_node_1: Vec<&Value> = told
        .iter()
        .filter(|told| told["node"] == "node-1")
        .collect();
    let text = of_node_1[of_node_1.len() - 1]["text"].as_str().unwrap();
    assert!(
        text.contains("Growth: ▃▅█ 300 MB → 1.2 GB in 2 h"),
        "{text}"
    );
}

#[tokio::test]
async fn growth_before_the_first_capture_is_what_the_trigger_saw() {
    use leakhound_archive::manifest::{SamplePoint, TriggerRecord};
    let world = World::new().await;
    let settings = world.settings();
    let archive = world.archive();
    let writer = archive.begin(CART, start(), "node-07", 4711).unwrap();
    writer.put(SHEET_FILE, b"{\"schema\":1}").unwrap();
    let sample = |age_ms: u64, fact: &str, value: f64| SamplePoint {
        age_ms,
        fact: fact.to_owned(),
        value,
    };
    let trigger = TriggerRecord {
        name: "four times the average".to_owned(),
        samples: vec![
            sample(1_800_000, "private_bytes", 4e8),
            sample(0, "private_bytes", 1.6e9),
            sample(900_000, "private_bytes", 8e8),
            sample(0, "threads", 12.0),
        ],
        ..TriggerRecord::default()
    };
    let manifest = Manifest {
        trigger: Some(trigger),
        ..Manifest::default()
    };
    let bundle = writer.seal(manifest).unwrap();
    let judged = Judged {
        sheet: FactSheet::default(),
        diagnosis: leak(),
    };
    world
        .announcer()
        .judged(&bundle, &judged, &settings, start())
        .unwrap();
    let told = world.delivered(start()).await.remove(0);
    let text = told["text"].as_str().unwrap();
    assert!(
        text.contains("Growth: ▃▅█ 400 MB → 1.6 GB in 30 min"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_person_ends_is_told_once() {
    let world = World::new().await;
    let settings = world.settings();
    let (bundle, judged) = world.captured("node-1", "2.3", start(), leak());
    let announcer = world.announcer();
    announcer
        .judged(&bundle, &judged, &settings, start())
        .unwrap();
    assert_eq!(world.delivered(start()).await.len(), 1);
    let incidents = Incidents::open(world.state()).unwrap();
    let id = incidents.list(&Query::default()).unwrap().remove(0).id;
    incidents
        .resolve(&id, Some("2.4"), "fixed", after(10))
        .unwrap();
    for minutes in [11, 12] {
        world.announcer().tick(&settings, after(minutes)).unwrap();
    }
    let over = world.delivered(after(12)).await;
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(
        over[0]["title"],
        "Over in 2.4: Memory leak in fabric:/Shop/Cart"
    );
    // Back, and ended once more: told once more.
    let (bundle, judged) = world.captured("node-1", "2.5", after(30), leak());
    announcer
        .judged(&bundle, &judged, &settings, after(30))
        .unwrap();
    incidents.resolve(&id, None, "fixed", after(40)).unwrap();
    world.announcer().tick(&settings, after(41)).unwrap();
    assert_eq!(world.delivered(after(41)).await.len(), 2);
}
