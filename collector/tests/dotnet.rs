//! Real .NET services: found, captured by both methods on every runtime, and read again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, MethodChoice, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_testbed::{Version, runtimes, targets};

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
