//! The running collector against real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::queue::Queue;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, Filter};
use leakhound_collector::config::{self, Config};
use leakhound_collector::{Collector, Event};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A process that holds this many MiB, and more with each line it is sent.
struct Holder(Child);

impl Holder {
    fn start(marker: &str, mib: usize) -> Self {
        let program = format!(
            "import os,sys\nkeep=[os.urandom(1<<20) for _ in range({mib})]\nprint('up',flush=True)\n\
             for line in sys.stdin:\n    keep += [os.urandom(1<<20) for _ in range(int(line))]\n    print('grown',flush=True)\n"
        );
        let mut child = Command::new("python3")
            .args(["-c", &program, marker])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    fn grow(&mut self, mib: usize) {
        use std::io::Write;
        writeln!(self.0.stdin.as_mut().unwrap(), "{mib}").unwrap();
    }

    fn is_stopped_or_traced(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        !status.contains("TracerPid:\t0\n")
            || status.contains("State:\tT")
            || status.contains("State:\tt")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Agent {
    events: broadcast::Receiver<Event>,
    shutdown: CancellationToken,
    reload: watch::Sender<Config>,
    task: JoinHandle<Result<(), leakhound_collector::CollectorError>>,
}

impl Agent {
    fn start(config: &str, folder: &Path) -> Self {
        let config: Config = config::parse(config, Path::new("test.toml")).unwrap();
        let archive = Arc::new(Archive::open_or_create(folder).unwrap());
        let state = State::open(folder).unwrap();
        let collector = Collector::new(config.clone(), archive, state).unwrap();
        let events = collector.events();
        let shutdown = CancellationToken::new();
        let (reload, updates) = watch::channel(config);
        let task = tokio::spawn(collector.run(shutdown.clone(), updates));
        Self {
            events,
            shutdown,
            reload,
            task,
        }
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let search = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), search)
            .await
            .expect("the event never came")
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn config(marker: &str, more: &str) -> String {
    format!(
        "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"cart\"\ncommand = \"{marker}\"\nevery = \"100 ms\"\n{more}\n\
         [[service.trigger]]\nname = \"big\"\nwhen = \"private_bytes > 120 MB for 300 ms\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_grows_is_captured_once_and_the_limits_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Holder::start("marker-grows", 20);
    let mut agent = Agent::start(&config("marker-grows", ""), folder.path());
    agent
        .wait_for(|e| matches!(e, Event::Watching { .. }))
        .await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(agent.events.is_empty(), "nothing has happened yet");
    holder.grow(150);
    let captured = agent
        .wait_for(|e| matches!(e, Event::Captured { .. } | Event::Failed { .. }))
        .await;
    let Event::Captured {
        bundle,
        pause_ms,
        pid,
        ..
    } = captured
    else {
        panic!("{captured:?}");
    };
    assert_eq!(pid, holder.0.id());
    assert!(!holder.is_stopped_or_traced());

    let archive = Archive::open(folder.path()).unwrap();
    let sealed = archive.bundle(&bundle).unwrap();
    let manifest = sealed.manifest().unwrap();
    let trigger = manifest.trigger.as_ref().unwrap();
    assert_eq!(
        (trigger.name.as_str(), trigger.by.as_str()),
        ("big", "trigger")
    );
    assert!(
        trigger
            .evidence
            .iter()
            .any(|e| e.starts_with("private_bytes = ")),
        "{:?}",
        trigger.evidence
    );
    assert!(
        trigger.samples.len() >= 3 && trigger.samples.iter().all(|s| s.fact == "private_bytes")
    );
    assert_eq!(
        (
            manifest.service.as_str(),
            manifest.method.as_str(),
            manifest.kind.as_str()
        ),
        ("cart", "snapshot", "heap")
    );
    assert_eq!(manifest.pause_ms, pause_ms);
    assert!(manifest.process_facts["private_bytes"] > 120e6);
    assert!(
        manifest
            .command_line
            .as_ref()
            .unwrap()
            .contains("marker-grows")
    );
    assert!(manifest.memory_map.iter().map(|m| m.rss).sum::<u64>() > 120_000_000);
    let image = leakhound_dump::open(sealed.open_dump().unwrap()).unwrap();
    assert_eq!(image.pid, Some(pid));
    let queue = Queue::open(State::open(folder.path()).unwrap()).unwrap();
    assert!(queue.job(&bundle).unwrap().is_some());

    // The trigger still holds: the cool-down keeps it quiet, before and after a restart of the collector.
    let held = agent
        .wait_for(|e| matches!(e, Event::Held { .. } | Event::Fired { .. }))
        .await;
    assert!(
        matches!(&held, Event::Held { reason, .. } if reason.contains("cool-down")),
        "{held:?}"
    );
    agent.stop().await;
    let mut agent = Agent::start(&config("marker-grows", ""), folder.path());
    let held = agent
        .wait_for(|e| matches!(e, Event::Held { .. } | Event::Fired { .. }))
        .await;
    assert!(matches!(held, Event::Held { .. }), "{held:?}");
    agent.stop().await;
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_takes_effect_without_a_restart_and_keeps_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let holder = Holder::start("marker-reload", 60);
    let mut agent = Agent::start(&config("marker-reload", ""), folder.path());
    agent
        .wait_for(|e| matches!(e, Event::Watching { .. }))
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The average over 10 s needs a second of samples, which only the past before the reload holds.
    let text = "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"cart\"\ncommand = \"marker-reload\"\nevery = \"100 ms\"\n\
                [[service.trigger]]\nname = \"average\"\nwhen = \"average(private_bytes, 10 s) > 30 MB\"\n";
    agent
        .reload
        .send(config::parse(text, Path::new("test.toml")).unwrap())
        .unwrap();
    let fired = agent.wait_for(|e| matches!(e, Event::Fired { .. })).await;
    assert!(
        matches!(&fired, Event::Fired { trigger, .. } if trigger == "average"),
        "{fired:?}"
    );
    agent
        .wait_for(|e| matches!(e, Event::Captured { .. }))
        .await;
    // Nobody owns it any more.
    agent.reload.send(Config::default()).unwrap();
    agent.wait_for(|e| matches!(e, Event::Gone { .. })).await;
    agent.stop().await;
    assert!(!holder.is_stopped_or_traced());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_on_the_disk_is_a_reason_and_the_target_runs() {
    let folder = tempfile::tempdir().unwrap();
    let holder = Holder::start("marker-disk", 150);
    let text = config("marker-disk", "").replace("1 MB", "100%");
    let mut agent = Agent::start(&text, folder.path());
    let failed = agent
        .wait_for(|e| matches!(e, Event::Failed { .. } | Event::Captured { .. }))
        .await;
    assert!(
        matches!(&failed, Event::Failed { reason, .. } if reason.contains("capture.reserve")),
        "{failed:?}"
    );
    // A failed attempt is not repeated each second, and does not use up the limit.
    let held = agent
        .wait_for(|e| matches!(e, Event::Held { .. } | Event::Fired { .. }))
        .await;
    assert!(
        matches!(&held, Event::Held { reason, .. } if reason.contains("attempts failed")),
        "{held:?}"
    );
    agent.stop().await;
    assert!(!holder.is_stopped_or_traced());
    let archive = Archive::open(folder.path()).unwrap();
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_in_the_middle_of_a_capture_leaves_a_whole_bundle_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let holder = Holder::start("marker-stop", 400);
    let mut agent = Agent::start(&config("marker-stop", ""), folder.path());
    agent.wait_for(|e| matches!(e, Event::Fired { .. })).await;
    agent.stop().await;
    assert!(!holder.is_stopped_or_traced());
    let archive = Archive::open(folder.path()).unwrap();
    let listing = archive.list(&Filter::default()).unwrap();
    assert!(listing.problems.is_empty());
    for bundle in &listing.bundles {
        leakhound_dump::open(bundle.open_dump().unwrap()).unwrap();
    }
    assert!(archive.sweep().unwrap().removed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_in_a_watched_folder_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("crash");
    std::fs::create_dir(&inbox).unwrap();
    let text = format!(
        "[capture]\nreserve = \"1 MB\"\n[adopt]\nfolders = [\"{}\"]\nsettle = \"500 ms\"\npoll = \"1 h\"\n",
        inbox.display()
    );
    let mut agent = Agent::start(&text, &folder.path().join("archive"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0".to_vec();
    core.resize(100_000, 0);
    std::fs::write(inbox.join("core.Shop.Cart.4711"), core).unwrap();
    let adopted = agent.wait_for(|e| matches!(e, Event::Adopted { .. })).await;
    assert!(
        matches!(&adopted, Event::Adopted { bundle } if bundle.starts_with("Shop.Cart/")),
        "{adopted:?}"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_captured_once_each_also_over_a_new_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Holder::start("marker-steps", 10);
    let steps = |every: &str| {
        format!(
            "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"cart\"\ncommand = \"marker-steps\"\nevery = \"{every}\"\n\
             cooldown = \"1 ms\"\nlimit = \"100 per day\"\n[[service.trigger]]\nname = \"steps\"\n\
             when = \"private_bytes > steps(60 MB, 140 MB)\"\n"
        )
    };
    let mut agent = Agent::start(&steps("100 ms"), folder.path());
    agent
        .wait_for(|e| matches!(e, Event::Watching { .. }))
        .await;
    for grown in [80, 100] {
        holder.grow(grown);
        let fired = agent.wait_for(|e| matches!(e, Event::Fired { .. })).await;
        let Event::Fired { evidence, .. } = &fired else {
            panic!("{fired:?}");
        };
        let step = evidence
            .iter()
            .find(|e| e.starts_with("steps(60 MB, 140 MB) = "));
        let wanted = if grown == 80 { "= 60 MB" } else { "= 140 MB" };
        assert!(step.is_some_and(|s| s.ends_with(wanted)), "{evidence:?}");
        agent
            .wait_for(|e| matches!(e, Event::Captured { .. }))
            .await;
        // Neither more samples nor another configuration make the step fire again.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let config = config::parse(&steps("110 ms"), Path::new("test.toml")).unwrap();
        agent.reload.send(config).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        while let Ok(event) = agent.events.try_recv() {
            assert!(!matches!(event, Event::Fired { .. }), "{event:?}");
        }
    }
    agent.stop().await;
}

/// The first and the second bundle of a pair, whose trigger holds all the time.
fn assert_is_pair(archive: &Archive, first: &str, second: &str, after: &str) {
    let manifest = |key: &str| archive.bundle(key).unwrap().manifest().unwrap();
    let (a, b) = (manifest(first), manifest(second));
    let (first_part, second_part) = (a.pair.unwrap(), b.pair.unwrap());
    assert_eq!(
        (
            first_part.part.as_str(),
            first_part.after.as_str(),
            first_part.first
        ),
        ("first", after, None)
    );
    assert_eq!(
        (second_part.part.as_str(), second_part.after.as_str()),
        ("second", after)
    );
    assert_eq!(second_part.first.as_deref(), Some(first));
    let ms = |t: Option<jiff::Timestamp>| t.unwrap().as_millisecond();
    assert_eq!(ms(second_part.first_at), ms(a.captured_at));
    let trigger = b.trigger.unwrap();
    assert_eq!(
        (trigger.name.as_str(), trigger.by.as_str()),
        ("big", "pair")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_capture_follows_after_a_delay_across_a_restart_and_needs_no_cooldown() {
    let folder = tempfile::tempdir().unwrap();
    let _holder = Holder::start("marker-pair", 150);
    let config = config("marker-pair", "pair = \"3 s\"");
    let captured = |e: &Event| matches!(e, Event::Captured { .. } | Event::Failed { .. });
    let key = |e: Event| match e {
        Event::Captured { bundle, .. } => bundle,
        other => panic!("{other:?}"),
    };
    let mut agent = Agent::start(&config, folder.path());
    let first = key(agent.wait_for(captured).await);
    agent.stop().await;
    let mut agent = Agent::start(&config, folder.path());
    let second = key(agent.wait_for(captured).await);
    let archive = Archive::open(folder.path()).unwrap();
    assert_is_pair(&archive, &first, &second, "3 s");
    // That was all: the cool-down of the first holds.
    let held = agent
        .wait_for(|e| matches!(e, Event::Held { .. } | Event::Fired { .. }))
        .await;
    assert!(
        matches!(&held, Event::Held { reason, .. } if reason.contains("cool-down")),
        "{held:?}"
    );
    agent.stop().await;
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_capture_waits_for_growth_and_counts_towards_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Holder::start("marker-growth", 150);
    let config = config("marker-growth", "pair = \"60 MB\"\nlimit = \"2 per day\"");
    let mut agent = Agent::start(&config, folder.path());
    let captured = |e: &Event| matches!(e, Event::Captured { .. } | Event::Failed { .. });
    let Event::Captured { bundle: first, .. } = agent.wait_for(captured).await else {
        panic!("the first capture failed");
    };
    // Neither time nor the trigger that still holds brings the second one about.
    let held = agent.wait_for(|e| matches!(e, Event::Held { .. })).await;
    assert!(
        matches!(&held, Event::Held { reason, .. } if reason.contains("cool-down")),
        "{held:?}"
    );
    assert!(agent.events.is_empty());
    holder.grow(100);
    let Event::Captured { bundle: second, .. } = agent.wait_for(captured).await else {
        panic!("the second capture failed");
    };
    let archive = Archive::open(folder.path()).unwrap();
    assert_is_pair(&archive, &first, &second, "60 MB");
    let bytes = |key: &str| {
        archive
            .bundle(key)
            .unwrap()
            .manifest()
            .unwrap()
            .process_facts["private_bytes"]
    };
    assert!(bytes(&second) - bytes(&first) >= 60e6);
    // Both count.
    let held = agent.wait_for(|e| matches!(e, Event::Held { .. })).await;
    assert!(
        matches!(&held, Event::Held { reason, .. } if reason.contains("limit of 2 per 1 day")),
        "{held:?}"
    );
    agent.stop().await;
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 2);
}
