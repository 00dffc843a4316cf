//! Threads, locks, exceptions, load contexts, collections and settings against a process that knows them:
//! `tests/targets/threads-and-locks.cs`.
#![allow(clippy::unwrap_used)]

use leakhound_clr::{FinalizerState, LatencyMode, Options, ProcessStart, Runtime, TypeId};
use leakhound_dump::{FileSearch, ProcessImage};
use leakhound_testbed::{Version, dumps, runtimes, service::Service, targets};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn open_dump(file: &Path) -> ProcessImage {
    leakhound_dump::open_with(
        leakhound_archive::open_readable(file).unwrap(),
        &leakhound_dump::Options {
            // createdump of 3.1 leaves metadata out of heap dumps: the module files stand in.
            files: Some(FileSearch::this_machine()),
            ..Default::default()
        },
    )
    .unwrap()
}

fn start(version: Version, server: bool) -> Service {
    let root = runtimes::get(version).unwrap();
    let launch = targets::app("threads-and-locks").unwrap().on(&root);
    let launch = if server { launch.server_gc(2) } else { launch };
    launch.env("SHOP_SECRET", "not for us").start().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn type_name(runtime: &Runtime, object: u64) -> String {
    let info = runtime.type_info(runtime.type_of(object).unwrap()).unwrap();
    info.name.clone()
}

fn check(image: &ProcessImage, report: &Value, what: &str) {
    let runtime = Runtime::open(image, &Options::default()).unwrap();
    check_collections(&runtime, report, what);
    check_locks(&runtime, report, what);
    check_threads(&runtime, report, what);
    check_finalizer(&runtime, report, what);
    check_contexts(&runtime, report, what);
    check_settings(image, &runtime, what);
    let completeness = runtime.completeness();
    assert!(completeness.is_whole(), "{what}: {completeness:?}");
}

fn check_collections(runtime: &Runtime, report: &Value, what: &str) {
    let state = runtime.gc_state();
    let gc = &report["runtime"];
    assert_eq!(
        state.collections.unwrap(),
        [
            number(&gc["gen0_collections"]),
            number(&gc["gen1_collections"]),
            number(&gc["gen2_collections"])
        ],
        "{what}: collections"
    );
    let last = state.last.unwrap();
    assert_eq!(last.index, number(&gc["gen0_collections"]), "{what}");
    assert_eq!((last.generation, last.reason), (2, "GC.Collect"), "{what}");
    assert!(
        last.induced && !last.compacting && !last.concurrent,
        "{what}"
    );
    assert_eq!(
        state.latency_mode,
        Some(LatencyMode::SustainedLowLatency),
        "{what}"
    );
    assert_eq!(number(&report["latency_mode"]), 3);
    // The array of 1.5 GB did not fit into the hard limit.
    assert_eq!(report["exhausted"], true);
    assert!(
        state.out_of_memory.iter().any(|o| o.bytes >= 1_500_000_000),
        "{what}: {:?}",
        state.out_of_memory
    );
    // The server collector of 3.1 does not publish its counters.
    if let Some(mechanisms) = state.mechanisms {
        assert!(
            (1..=last.index).contains(&mechanisms.promoting) && mechanisms.compacting <= last.index,
            "{what}: {mechanisms:?}"
        );
    }
    let heaps = runtime.heaps().len();
    let generations = if runtime.info().version.major == 3 {
        4
    } else {
        5
    };
    assert_eq!(state.budgets.len(), heaps * generations, "{what}");
    for budget in &state.budgets {
        assert!(budget.bytes > 0, "{what}: {budget:?}");
    }
}

fn check_locks(runtime: &Runtime, report: &Value, what: &str) {
    let blocks = runtime.sync_blocks().unwrap();
    assert!(
        blocks.used + blocks.free < blocks.table_size && blocks.used > 5,
        "{what}: {blocks:?}"
    );
    let main = u32::try_from(number(&report["main_thread"])).unwrap();
    let held: Vec<_> = blocks
        .locks
        .iter()
        .filter(|l| l.owner == Some(main))
        .collect();
    let waited: Vec<_> = held.iter().filter(|l| l.entering > 0).collect();
    let tills = held
        .iter()
        .filter(|l| type_name(runtime, l.object) == "Shop.Floor.Till");
    // One more is the counter.
    assert_eq!(
        tills.count() as u64,
        number(&report["held_tills"]) + 1,
        "{what}: {held:?}"
    );
    let mut entering: Vec<(String, u32)> = waited
        .iter()
        .map(|l| (type_name(runtime, l.object), l.entering))
        .collect();
    entering.sort();
    assert_eq!(
        entering,
        [
            (
                "Shop.Floor.Till".to_owned(),
                u32::try_from(number(&report["waiters"])).unwrap()
            ),
            ("System.Object".to_owned(), 1),
        ],
        "{what}: who waits to enter"
    );
    let names = thread_names(runtime);
    let bell = blocks
        .locks
        .iter()
        .find(|l| type_name(runtime, l.object) == "Shop.Floor.Till" && !l.waiting.is_empty())
        .unwrap();
    assert!(!bell.held && bell.waiting.len() == 1, "{what}: {bell:?}");
    assert_eq!(names[&bell.waiting[0]], "bell", "{what}");
}

/// Names by managed id.
fn thread_names(runtime: &Runtime) -> BTreeMap<u32, String> {
    let threads = runtime.threads().iter();
    threads
        .filter_map(|t| Some((t.managed_id, runtime.thread_name(t)?)))
        .collect()
}

fn check_threads(runtime: &Runtime, report: &Value, what: &str) {
    let names = thread_names(runtime);
    let of = |name: &str| {
        let threads = runtime.threads().iter();
        let mut found = threads.filter(|t| names.get(&t.managed_id).is_some_and(|n| n == name));
        found.next().unwrap_or_else(|| panic!("{what}: no {name}"))
    };
    assert!(of("queue-1").is_background() && !of("cashier").is_background());
    let thrown = runtime.last_exception(of("thrower")).unwrap();
    assert_eq!(thrown.type_name, "Shop.Floor.StockException", "{what}");
    assert_eq!(
        i64::from(thrown.hresult),
        report["hresult"].as_i64().unwrap(),
        "{what}"
    );
    assert_eq!(
        runtime.exception_message(&thrown, 64).as_deref(),
        report["message"].as_str(),
        "{what}"
    );
    assert_eq!(runtime.last_exception(of("queue-0")), None, "{what}");
    let unstarted = runtime.threads().iter().filter(|t| t.is_unstarted());
    assert_eq!(unstarted.count(), 1, "{what}");
    let dead = runtime.threads().iter().filter(|t| t.is_dead()).count() as u64;
    assert_eq!(dead, number(&report["ended_threads"]), "{what}");
    // What a dead thread had is gone with it.
    let own: Vec<_> = runtime
        .thread_statics()
        .into_iter()
        .map(|f| f.name)
        .filter(|n| n.starts_with("Shop.Floor."))
        .collect();
    let count = |name: &str| own.iter().filter(|n| *n == name).count() as u64;
    let waiters = number(&report["waiters"]);
    assert_eq!(
        [
            count("Shop.Floor.PerThread<System.String>.Held"),
            count("Shop.Floor.PerThread<Shop.Floor.Till>.Held"),
            count("Shop.Floor.PerThread<Shop.Floor.Till>.Badge"),
            count("Shop.Floor.PerThread<Shop.Floor.Till>.Own"),
            count("Shop.Floor.PluginState.OfThread"),
        ],
        [waiters, waiters, waiters, 0, 1],
        "{what}: {own:?}"
    );
    let plugin = runtime
        .statics()
        .into_iter()
        .filter(|s| s.name == "Shop.Floor.PluginState.Till" && s.object != 0);
    assert_eq!(plugin.count(), 1, "{what}: statics of a collectible class");
}

fn check_finalizer(runtime: &Runtime, report: &Value, what: &str) {
    let queues = runtime.finalization();
    assert_eq!(
        queues.ready.len() as u64,
        number(&report["dropped_receipts"]),
        "{what}"
    );
    let thread = queues.thread.unwrap();
    assert_eq!(thread.state, FinalizerState::Blocked, "{what}: {thread:?}");
    assert!(thread.sure && thread.busy, "{what}: {thread:?}");
    assert_eq!(
        type_name(runtime, thread.running[0]),
        "Shop.Floor.JammedDrawer",
        "{what}"
    );
    let lock = thread.lock.unwrap();
    assert_eq!(
        lock.owner.map(u64::from),
        report["main_thread"].as_u64(),
        "{what}"
    );
    assert_eq!(thread.system_call, Some("futex"), "{what}");
}

/// Types that were emitted at run time have the names that their builders gave them, as far as somebody kept the builders; the
/// others are known by their assembly.
fn check_emitted(runtime: &Runtime, report: &Value, what: &str) {
    let _ = runtime.histogram();
    let infos = (0..runtime.type_count())
        .filter_map(|id| runtime.type_info(TypeId(u32::try_from(id).unwrap())));
    let mut emitted: BTreeMap<String, String> = infos
        .filter(|info| info.module.starts_with("Emitted") || info.name.contains("!0x"))
        .map(|info| (info.module.clone(), info.name.clone()))
        .collect();
    let all = number(&report["dynamic_assemblies"]);
    assert_eq!(emitted.len() as u64, all, "{what}: {emitted:?}");
    for i in 0..all {
        let name = emitted.remove(&format!("Emitted{i}")).unwrap_or_default();
        let built = name == format!("Emitted.Item{i}");
        let kept = i < number(&report["kept_builders"]);
        assert!(
            built || !kept && name == format!("Emitted{i}!0x02000002"),
            "{what}: {i} is called {name}"
        );
    }
}

fn check_contexts(runtime: &Runtime, report: &Value, what: &str) {
    let contexts = runtime.load_contexts().unwrap();
    let expected = report["contexts"].as_array().unwrap();
    assert_eq!(contexts.len(), expected.len(), "{what}: {contexts:?}");
    for wanted in expected {
        let name = wanted["name"].as_str().unwrap();
        let found = contexts
            .iter()
            .find(|c| c.name.as_deref() == Some(name))
            .unwrap_or_else(|| panic!("{what}: no {name} in {contexts:?}"));
        assert_eq!(found.collectible, wanted["collectible"], "{what}: {name}");
        let (count, modules) = (number(&wanted["assemblies"]), found.modules.len() as u64);
        // Writing the report loaded what the console is made of.
        let later = if name == "Default" { 2 } else { 0 };
        assert!(
            (count..=count + later).contains(&modules),
            "{what}: {count} of {found:?}"
        );
        assert!(!found.unloading && found.is_default() == (name == "Default"));
    }
    check_emitted(runtime, report, what);
    let dynamic = runtime.modules().iter().filter(|m| m.dynamic).count() as u64;
    assert_eq!(dynamic, number(&report["dynamic_assemblies"]), "{what}");
}

/// Contexts leave `s_allContexts` when they are unloaded; what still holds a part of them makes them worth knowing.
#[cfg(target_os = "linux")]
fn unloaded_contexts(version: Version) {
    const JOBS: usize = 50;
    let root = runtimes::get(version).unwrap();
    let mut service = targets::app("load-contexts")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    assert_eq!(number(&service.report()["results"]), JOBS as u64);
    let plugins = |pid: u32| {
        let image = leakhound_dump::live(pid).unwrap();
        let runtime = Runtime::open(&image, &Options::default()).unwrap();
        let mut contexts = runtime.load_contexts().unwrap();
        contexts.retain(|c| c.type_name == "Shop.Plugins.PluginContext");
        contexts
    };
    let before = plugins(service.pid());
    assert_eq!(before.len(), JOBS, "{version}: {before:?}");
    service.send("unload").unwrap();
    let after = plugins(service.pid());
    assert_eq!(after.len(), JOBS, "{version}: {after:?}");
    for context in &after {
        assert!(
            context.collectible && context.unloading,
            "{version}: {context:?}"
        );
        assert_eq!(
            context.modules,
            ["Shop.Plugins.dll"],
            "{version}: {context:?}"
        );
    }
}

fn check_settings(image: &ProcessImage, runtime: &Runtime, what: &str) {
    let start = ProcessStart::read(image).unwrap();
    assert!(
        start.arguments[0].ends_with("dotnet")
            && start
                .arguments
                .iter()
                .any(|a| a.ends_with("Shop.Floor.dll")),
        "{what}: {start:?}"
    );
    assert_eq!(start.settings["DOTNET_GCHeapHardLimit"], "32000000");
    assert!(!format!("{start:?}").contains("not for us"), "{what}");
    let properties = runtime.app_properties().unwrap();
    assert_eq!(
        properties
            .get("System.Globalization.Invariant")
            .map(String::as_str),
        Some("true"),
        "{what}: {properties:?}"
    );
}

fn heap_dump(version: Version) {
    let service = start(version, false);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heap.core");
    let root = runtimes::get(version).unwrap();
    dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
    let image = open_dump(&file);
    check(&image, service.report(), &format!("{version} heap dump"));
}

fn server_gc(version: Version) {
    let service = start(version, true);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("full.core");
    let root = runtimes::get(version).unwrap();
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &file).unwrap();
    let image = open_dump(&file);
    check(&image, service.report(), &format!("{version} server GC"));
}

macro_rules! on_every_runtime {
    ($($name:ident: $version:ident),*) => {$(
        mod $name {
            use super::Version;

            #[test]
            fn a_heap_dump_tells_what_the_target_says() {
                super::heap_dump(Version::$version);
            }

            #[test]
            fn a_dump_of_server_gc_tells_what_the_target_says() {
                super::server_gc(Version::$version);
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn unloaded_contexts_that_something_holds_are_found() {
                super::unloaded_contexts(Version::$version);
            }
        }
    )*};
}

on_every_runtime!(net31: Net31, net8: Net8, net9: Net9, net10: Net10);
