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
    if name == "snapshot" {
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
