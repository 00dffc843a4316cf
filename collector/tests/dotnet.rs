//! Real .NET services: found, captured by both methods on every runtime, and read again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, MethodChoice, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_testbed::{Version, runtimes, targets};
use std::collections::BTreeMap;

/// Finds, captures and opens one service by one method.
fn capture_with(version: Version, method: MethodChoice, name: &str) {
    let root = runtimes::get(version).unwrap();
    let mut service = targets::app("static-root")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    let target = discover::one(service.pid()).unwrap();
    assert_eq!(target.name, "Shop.Pricing");
    let dotnet = target.dotnet.as_ref().unwrap();
    assert!(
        dotnet
            .coreclr
            .as_ref()
            .is_some_and(|p| p.ends_with("libcoreclr.so"))
    );
    assert!(
        dotnet.socket.as_ref().is_some_and(|s| s.exists()),
        "{dotnet:?}"
    );
    assert!(!dotnet.single_file);

    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(folder.path()).unwrap();
    let config = CaptureConfig {
        method,
        reserve: Reserve::Bytes(1 << 20),
        ..CaptureConfig::default()
    };
    let place = seal::Place {
        archive: &archive,
        queue: None,
        config: &config,
        walker: None,
    };
    let cancel = Cancel::default();
    let (bundle, manifest) = seal::capture_once(
        place,
        &target,
        None,
        Kind::Heap,
        "test",
        &cancel,
        &mut |_| {},
    )
    .unwrap();
    assert!(service.is_running());
    service
        .send("report")
        .expect("the service answers after the capture");
    assert_eq!(manifest.method, name);
    assert_eq!(manifest.service, "Shop.Pricing");
    let image = leakhound_dump::open(bundle.open_dump().unwrap()).unwrap();
    assert!(image.threads.len() > 3, "{} threads", image.threads.len());
    let runtime = leakhound_clr::Runtime::open(&image, &leakhound_clr::Options::default()).unwrap();
    assert_eq!(runtime.info().version.to_string(), version.exact());
    if name != "runtime-ipc" {
        assert_eq!(manifest.gc_in_progress, Some(false));
        assert!(manifest.warnings.is_empty(), "{:?}", manifest.warnings);
    }
    if name != "runtime-ipc" {
        // Names come from the metadata of modules; ours are in the dump, createdump leaves them to files on disk.
        let mut statics = runtime.statics().into_iter();
        let field = statics.find(|f| f.name.ends_with("QuoteCache.Quotes"));
        assert!(field.is_some(), "the static field is not named");
    }
    println!(
        "{} {name}: {:.1} ms stopped, {:.0} ms in all, {} -> {} bytes",
        version.exact(),
        manifest.pause_ms.unwrap(),
        manifest.total_ms.unwrap(),
        manifest.dump.as_ref().unwrap().raw_bytes,
        manifest.dump.as_ref().unwrap().stored_bytes
    );
    if name == "runtime-ipc" {
        let prefix = format!("leakhound-{}-", std::process::id());
        let mut left = std::fs::read_dir("/tmp").unwrap().flatten();
        let spool = left.find(|e| e.file_name().to_string_lossy().starts_with(&prefix));
        assert!(spool.is_none(), "{spool:?} was left behind");
    }
}

#[test]
fn every_runtime_is_captured_by_snapshot() {
    for version in Version::ALL {
        capture_with(version, MethodChoice::Auto, "snapshot");
    }
}

#[test]
fn a_runtime_is_captured_by_stop_and_stream() {
    capture_with(
        Version::Net8,
        MethodChoice::StopAndStream,
        "stop-and-stream",
    );
}

#[test]
fn every_runtime_is_captured_by_its_own_dump() {
    for version in Version::ALL {
        capture_with(version, MethodChoice::Runtime, "runtime-ipc");
    }
}

/// Types by name, with the number and bytes of their objects.
fn types(runtime: &leakhound_clr::Runtime) -> BTreeMap<String, (u64, u64)> {
    let histogram = runtime.histogram();
    let mut types = BTreeMap::new();
    for (id, tally) in histogram.types() {
        let name = runtime.type_info(id).unwrap().name.clone();
        let sum: &mut (u64, u64) = types.entry(name).or_default();
        *sum = (sum.0 + tally.count, sum.1 + tally.bytes);
    }
    types
}

/// The unpacked dump.
fn unpacked(bundle: &leakhound_archive::Bundle) -> Vec<u8> {
    let dump = bundle.open_dump().unwrap();
    let mut bytes = vec![0; dump.len() as usize];
    let mut at = 0;
    while at < bytes.len() {
        at += dump.read_at(at as u64, &mut bytes[at..]).unwrap();
    }
    bytes
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == wanted[0]) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[test]
fn a_structure_dump_has_the_graph_and_no_contents() {
    const SECRET: &str = "Zq7-planted-secret-91x";
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for version in [Version::Net8, Version::Net10] {
        let root = runtimes::get(version).unwrap();
        let app = targets::app("steady").unwrap();
        let mut service = app.on(&root).start().unwrap();
        // It answers that it does not know that command; the word lies in strings and in buffers from then on.
        let _ = service.send(SECRET);
        let target = discover::one(service.pid()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        let config = CaptureConfig {
            reserve: Reserve::Bytes(1 << 20),
            ..CaptureConfig::default()
        };
        let place = seal::Place {
            archive: &archive,
            queue: None,
            config: &config,
            walker: None,
        };
        let capture = |kind| {
            let cancel = Cancel::default();
            seal::capture_once(place, &target, None, kind, "test", &cancel, &mut |_| {}).unwrap()
        };
        let [(whole, _), (structure, manifest), (again, _)] =
            [Kind::Heap, Kind::Structure, Kind::Heap].map(capture);
        assert_eq!(
            (manifest.method.as_str(), manifest.kind.as_str()),
            ("snapshot", "structure")
        );
        let raw = unpacked(&whole);
        for planted in [SECRET, "customer-17"] {
            assert!(holds(&raw, &wide(planted)), "{planted} was never there");
        }
        let raw = unpacked(&structure);
        for planted in [SECRET, "customer-17"] {
            for bytes in [wide(planted), planted.as_bytes().to_vec()] {
                assert!(!holds(&raw, &bytes), "{version}: {planted} is in the dump");
            }
        }
        let open = |bundle: &leakhound_archive::Bundle| {
            let image = leakhound_dump::open(bundle.open_dump().unwrap()).unwrap();
            leakhound_clr::Runtime::open(&image, &leakhound_clr::Options::default()).unwrap()
        };
        let runtime = open(&structure);
        let found = types(&runtime);
        assert!(
            found == types(&open(&whole)) || found == types(&open(&again)),
            "{version}: the types differ"
        );
        assert!(
            runtime
                .statics()
                .into_iter()
                .any(|f| f.name.ends_with("Program.Open"))
        );
        let is_plain = |id| {
            let info = runtime.type_info(id).unwrap();
            let plain = (info.array || info.string) && !info.has_references && !info.free;
            plain.then_some(if info.string { 12 } else { 16 })
        };
        let walk = runtime.walk(Vec::new, |out: &mut Vec<(u64, u64)>, object| {
            if let Some(start) = is_plain(object.type_id) {
                out.push((object.address + start, object.address + object.size - 8));
            }
        });
        let mut looked = 0;
        for (start, end) in walk.accumulators.into_iter().flatten() {
            let mut bytes = vec![7; (end.saturating_sub(start)) as usize];
            let n = runtime.memory().read(start, &mut bytes);
            assert!(bytes[..n].iter().all(|b| *b == 0), "{version}: {start:#x}");
            looked += 1;
        }
        assert!(looked > 20_000, "{looked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_on_a_live_managed_value_fires() {
    let root = runtimes::get(Version::Net8).unwrap();
    let service = targets::app("pinned-handles")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    let pinned = service.number("/pinned_handles").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"pins\"\npid = {}\nevery = \"200 ms\"\n\
         [[service.trigger]]\nname = \"pins\"\nwhen = \"managed.handles.pinned > 1_000 for 400 ms\"\n",
        service.pid()
    );
    let config: leakhound_collector::Config =
        leakhound_collector::config::parse(&text, std::path::Path::new("test.toml")).unwrap();
    let archive = std::sync::Arc::new(Archive::open_or_create(folder.path()).unwrap());
    let state = leakhound_archive::state::State::open(folder.path()).unwrap();
    let collector = leakhound_collector::Collector::new(config.clone(), archive, state).unwrap();
    let mut events = collector.events();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let (_reload, updates) = tokio::sync::watch::channel(config);
    let task = tokio::spawn(collector.run(shutdown.clone(), updates));
    let fired = async {
        loop {
            if let leakhound_collector::Event::Fired { evidence, .. } = events.recv().await.unwrap()
            {
                return evidence;
            }
        }
    };
    let evidence = tokio::time::timeout(std::time::Duration::from_secs(60), fired)
        .await
        .unwrap();
    assert!(
        evidence
            .iter()
            .any(|e| e.starts_with("managed.handles.pinned = ")),
        "{evidence:?}, the target says {pinned}"
    );
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

/// `DOTNET_DbgEnableMiniDump` on a process that really crashes.
#[test]
fn the_crash_dump_that_the_runtime_writes_is_adopted() {
    use leakhound_collector::adopt::Adopter;
    use leakhound_collector::config::{AdoptConfig, Original};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("crashes");
    std::fs::create_dir(&inbox).unwrap();
    let root = runtimes::get(Version::Net8).unwrap();
    let mut service = targets::app("steady")
        .unwrap()
        .on(&root)
        .env("DOTNET_DbgEnableMiniDump", "1")
        .env("DOTNET_DbgMiniDumpType", "2")
        .env(
            "DOTNET_DbgMiniDumpName",
            inbox.join("core.Shop.Checkout.%p").to_str().unwrap(),
        )
        .start()
        .unwrap();
    let pid = service.pid();
    let archive = Archive::open_or_create(&folder.path().join("archive")).unwrap();
    let state = leakhound_archive::state::State::open(archive.location()).unwrap();
    let config = AdoptConfig {
        folders: vec![inbox.clone()],
        original: Original::Remove,
        ..AdoptConfig::default()
    };
    let capture = CaptureConfig {
        reserve: Reserve::Bytes(1 << 20),
        ..CaptureConfig::default()
    };
    let mut adopter = Adopter::open(config, capture, state).unwrap();
    // It may end before it has answered.
    let _ = service.send("crash");
    // It is looked at all the time while createdump writes it; each pass is a minute later for the adopter.
    let started = Instant::now();
    let mut taken = Vec::new();
    let mut minutes = 0;
    while taken.is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{}",
            service.output()
        );
        minutes += 1;
        taken = adopter.pass(&archive, None, started + Duration::from_secs(60 * minutes));
        std::thread::sleep(Duration::from_millis(5));
    }
    let until = Instant::now() + Duration::from_secs(30);
    while service.is_running() {
        assert!(Instant::now() < until, "it did not crash");
        std::thread::sleep(Duration::from_millis(20));
    }
    let manifest = taken[0].manifest().unwrap();
    assert_eq!(
        (
            manifest.service.as_str(),
            manifest.pid,
            manifest.method.as_str()
        ),
        ("Shop.Checkout", pid, "adopted")
    );
    assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 0);
    // Taken only when it was complete, although it was looked at while it was written.
    let image = leakhound_dump::open(taken[0].open_dump().unwrap()).unwrap();
    assert_eq!(image.warnings, [] as [String; 0]);
    let options = leakhound_clr::Options::default();
    let runtime = leakhound_clr::Runtime::open(&image, &options).unwrap();
    let types = types(&runtime);
    assert!(
        types.keys().any(|t| t.contains("Shop.Checkout.Basket")),
        "{types:?}"
    );
}

/// A service that collects nearly all the time: a capture waits for a moment between two collections, and says so when
/// there was none.
#[test]
fn a_capture_waits_for_the_collector_or_is_marked() {
    let root = runtimes::get(Version::Net8).unwrap();
    let service = targets::app("compacting")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    let target = discover::one(service.pid()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(folder.path()).unwrap();
    let capture = |method, patience| {
        let config = CaptureConfig {
            method,
            gc_wait: leakhound_collector::config::Span::seconds(patience),
            reserve: Reserve::Bytes(1 << 20),
            ..CaptureConfig::default()
        };
        let place = seal::Place {
            archive: &archive,
            queue: None,
            config: &config,
            walker: None,
        };
        let cancel = Cancel::default();
        let (_, manifest) = seal::capture_once(
            place,
            &target,
            None,
            Kind::Heap,
            "test",
            &cancel,
            &mut |_| {},
        )
        .unwrap();
        let warned = manifest
            .warnings
            .iter()
            .any(|w| w.contains("was moving objects"));
        let collecting = manifest.gc_in_progress.unwrap();
        assert_eq!(collecting, warned, "{:?}", manifest.warnings);
        collecting
    };
    // One in many moments is free; on a busy machine it may be missed a few times.
    let marked = |patience| {
        let methods = [MethodChoice::Snapshot, MethodChoice::StopAndStream];
        methods.map(|method| (0..8).map(move |_| capture(method, patience)))
    };
    for mut captures in marked(0) {
        assert!(captures.any(|collecting| collecting));
    }
    for mut captures in marked(20) {
        assert!(captures.any(|collecting| !collecting));
    }
}
