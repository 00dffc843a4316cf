//! A sheet of a real dump: its facts are those that the process knows about itself, in the words of the vocabulary, and it is small.
#![allow(clippy::unwrap_used)]

use leakhound_rules::{FactSheet, Value, vocabulary};
use leakhound_testbed::{Version, dumps, runtimes, targets};
use leakhound_triage::analyze::analyze;
use leakhound_triage::child::{Modules, Request, Strings};
use vocabulary::Kind;

fn sheet_of(target: &str, version: Version) -> (FactSheet, serde_json::Value) {
    let root = runtimes::get(version).unwrap();
    let service = targets::app(target).unwrap().on(&root).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("heap.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &dump).unwrap();
    let request = Request {
        dump,
        manifest: None,
        service: None,
        modules: Modules::Mapped,
        strings: Strings::Scrubbed,
        memory_limit_bytes: 1 << 32,
        time_limit_ms: 60_000,
    };
    let sheet = analyze(&request, &mut |_| {}).unwrap();
    (sheet, service.report().clone())
}

/// Every fact and every column is in the vocabulary, with a value of its kind.
fn check_words(sheet: &FactSheet) {
    let fits = |value: &Value, kind: Kind| match kind {
        Kind::Bool => matches!(value, Value::Bool(_)),
        Kind::Text => matches!(value, Value::Text(_)),
        Kind::Texts => matches!(value, Value::Texts(_)),
        _ => matches!(value, Value::Int(_) | Value::Float(_)),
    };
    for (name, value) in &sheet.facts {
        let fact = vocabulary::fact_named(name).unwrap_or_else(|| panic!("{name} is no word"));
        assert!(fits(value, fact.kind), "{name} = {value:?}");
    }
    for name in sheet.unknown.keys() {
        assert!(vocabulary::fact_named(name).is_some(), "{name} is no word");
    }
    for (name, rows) in &sheet.lists {
        let list = vocabulary::list_named(name).unwrap_or_else(|| panic!("{name} is no list"));
        for (column, value) in rows.iter().flatten() {
            let known = list.columns.iter().find(|(n, ..)| n == column);
            let (_, kind, _) = known.unwrap_or_else(|| panic!("{name}.{column} is no column"));
            assert!(fits(value, *kind), "{name}.{column} = {value:?}");
        }
    }
    let bytes = serde_json::to_vec(sheet).unwrap().len();
    assert!(bytes < 1_000_000, "the sheet has {bytes} bytes");
}

fn text<'a>(row: &'a leakhound_rules::Row, column: &str) -> &'a str {
    match row.get(column) {
        Some(Value::Text(text)) => text,
        other => panic!("{column} is {other:?}"),
    }
}

fn count(row: &leakhound_rules::Row, column: &str) -> i64 {
    match row.get(column) {
        Some(Value::Int(count)) => *count,
        other => panic!("{column} is {other:?}"),
    }
}

fn check(version: Version) {
    let (sheet, report) = sheet_of("threads-and-locks", version);
    check_words(&sheet);
    let number = |pointer: &str| report.pointer(pointer).unwrap().as_i64().unwrap();
    let int = |name: &str| sheet.get_int(name).unwrap_or_else(|| panic!("{name}"));
    let word = |name: &str| match sheet.facts.get(name) {
        Some(Value::Text(text)) => text.as_str(),
        other => panic!("{name} is {other:?}"),
    };
    for generation in 0..3 {
        assert_eq!(
            int(&format!("gc.gen{generation}_collections")),
            number(&format!("/runtime/gen{generation}_collections"))
        );
    }
    assert_eq!(word("gc.last_reason"), "GC.Collect");
    assert_eq!(word("gc.latency_mode"), "sustained_low_latency");
    assert_eq!(sheet.facts["gc.concurrent"], Value::Bool(true));
    assert!(int("gc.oom_bytes") >= 1_500_000_000);
    // Set in the target's card; without a manifest the limit comes from the dump.
    assert_eq!(int("gc.hard_limit"), 0x3200_0000);
    assert_eq!(int("limit"), 0x3200_0000);
    assert_eq!(word("runtime.host"), "dotnet");
    assert!(word("runtime.command").contains("Shop.Floor.dll"));

    assert_eq!(int("finalizer.ready"), number("/dropped_receipts"));
    assert_eq!(word("finalizer.thread_state"), "blocked");
    assert_eq!(sheet.facts["finalizer.thread_sure"], Value::Bool(true));
    assert_eq!(word("finalizer.running"), "Shop.Floor.JammedDrawer");
    assert_eq!(word("finalizer.lock"), "System.Object");
    let main = format!("thread {}", number("/main_thread"));
    assert!(word("finalizer.lock_owner").starts_with(&main));

    assert!(int("locks.held") > number("/held_tills"));
    assert_eq!(int("locks.entering"), number("/waiters") + 1);
    let first = &sheet.lists["held_locks"][0];
    assert_eq!(text(first, "type"), "Shop.Floor.Till");
    assert_eq!(count(first, "entering"), number("/waiters"));

    let exceptions = &sheet.lists["exceptions"];
    let own = exceptions
        .iter()
        .find(|r| text(r, "type") == "Shop.Floor.StockException")
        .unwrap();
    // One more is the thrown one.
    assert_eq!(count(own, "count"), number("/kept_exceptions") + 1);
    let thrown = sheet.lists["thrown"]
        .iter()
        .find(|r| text(r, "thread").ends_with("(thrower)"))
        .unwrap();
    assert_eq!(text(thrown, "hresult"), "0x80131234");
    assert_eq!(Some(text(thrown, "message")), report["message"].as_str());

    assert_eq!(int("modules.dynamic"), number("/dynamic_assemblies"));
    assert_eq!(int("contexts.count"), 3);
    assert_eq!(int("contexts.collectible"), 1);
    let plugin = &sheet.lists["load_contexts"][0];
    assert_eq!(text(plugin, "name"), "plugin-a");
    assert_eq!(text(plugin, "held_by"), "Shop.Floor.Program.Kept");
    assert_eq!(int("threads.unstarted"), 1);
    assert_eq!(int("threads.dead"), number("/ended_threads"));

    // Every byte in an object is live, waits for finalizers, or is garbage.
    for generation in ["heap", "gen0", "gen1", "gen2", "loh", "poh"] {
        let of = |what: &str| int(&format!("{generation}.{what}"));
        let parts = of("live") + of("finalizing") + of("garbage");
        let frozen = if generation == "heap" {
            int("frozen.live")
        } else {
            0
        };
        // `heap.live` counts frozen objects, whose generation has no garbage.
        let whole = if generation == "heap" {
            ["gen0", "gen1", "gen2", "loh", "poh"]
                .iter()
                .map(|g| int(&format!("{g}.used")))
                .sum::<i64>()
                + frozen
        } else {
            of("used")
        };
        assert_eq!(parts, whole, "{generation}");
    }
    let kept: Vec<i64> = sheet.lists["dominators"]
        .iter()
        .map(|r| count(r, "retained"))
        .collect();
    assert!(!kept.is_empty() && kept.is_sorted_by(|a, b| a >= b));
    assert!(kept[0] < int("heap.live"));
    let till = sheet.lists["types"]
        .iter()
        .find(|r| text(r, "type") == "Shop.Floor.Till");
    assert!(till.is_none_or(|r| count(r, "retained") >= count(r, "live_bytes")));
    let own = sheet.lists["modules"]
        .iter()
        .find(|r| text(r, "name") == "Shop.Floor.dll")
        .unwrap();
    assert!(count(own, "retained") > 0);
    let stacks = sheet.lists["managed_threads"].iter();
    assert!(stacks.map(|r| count(r, "retained")).sum::<i64>() > 0);

    let committed: i64 = sheet.lists["generations"]
        .iter()
        .map(|r| count(r, "committed"))
        .sum();
    assert_eq!(committed, int("heap.committed"));
    let handles: i64 = sheet.lists["handle_kinds"]
        .iter()
        .map(|r| count(r, "count"))
        .sum();
    assert_eq!(handles, int("handles.total"));
    let registered: i64 = sheet.lists["finalizable_generations"]
        .iter()
        .map(|r| count(r, "count"))
        .sum();
    assert_eq!(registered, int("finalizer.registered"));
}

/// Every well-known shape against the numbers of a program that knows them.
fn check_shapes(version: Version) {
    let (sheet, report) = sheet_of("shapes", version);
    check_words(&sheet);
    let shapes = &sheet.lists["shapes"];
    let find = |name: &str| shapes.iter().find(|row| text(row, "type") == name);
    let mut wrong = Vec::new();
    for wanted in report["shapes"].as_array().unwrap() {
        let name = wanted["type"].as_str().unwrap();
        let number = |key: &str| wanted[key].as_i64().unwrap();
        let Some(row) = find(name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        let (objects, elements) = (count(row, "count"), count(row, "elements"));
        // The framework has some of these for itself.
        let right = if wanted["others"] == true {
            let few = 0..=40;
            few.contains(&(objects - number("count")))
                && few.contains(&(elements - number("elements")))
        } else {
            (objects, elements) == (number("count"), number("elements"))
        };
        let capacity = number("capacity");
        if !right || (capacity >= 0 && count(row, "capacity") != capacity) {
            wrong.push(format!("{row:?} instead of {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{version}: {wrong:#?}");

    let sources = find("System.Threading.CancellationTokenSource").unwrap();
    assert_eq!(
        count(sources, "largest"),
        65,
        "60 registrations and 5 linked sources"
    );
    let int = |name: &str| sheet.get_int(name).unwrap();
    assert!((45..=85).contains(&int("cancellation.sources")));
    assert!((15..=20).contains(&int("cancellation.cancelled")));
    assert!((10..=15).contains(&int("cancellation.timed")));

    // 14 arrays of 128 references.
    let pool = find("System.Buffers.ConfigurableArrayPool<Shop.Shapes.Item>").unwrap();
    assert_eq!(count(pool, "idle"), 14 * (24 + 128 * 8));

    let captured = sheet.subject.captured_at_ms.unwrap();
    let start = report["start_ms"].as_i64().unwrap();
    let age = |row: &leakhound_rules::Row| {
        let moment = |column: &str| captured - count(row, column) - start;
        (
            moment("oldest"),
            moment("newest"),
            text(row, "moment").to_owned(),
        )
    };
    let second = 1_000;
    let jobs = find("System.Collections.Concurrent.ConcurrentQueue<Shop.Shapes.Job>").unwrap();
    assert_eq!(
        age(jobs),
        (-249 * second, -50 * second, "Created".to_owned())
    );
    let queue = sheet.lists["queues"]
        .iter()
        .find(|row| text(row, "type") == "ConcurrentQueue<Job>");
    assert_eq!(age(queue.unwrap()), age(jobs));
    let notes = find("System.Threading.Channels.BoundedChannel<Shop.Shapes.Note>").unwrap();
    assert_eq!(age(notes), (-199 * 60 * second, 0, "Received".to_owned()));
    let store = find("System.Runtime.Caching.MemoryCacheStore").unwrap();
    assert_eq!(age(store).0, -44 * 3_600 * second);
    let cache = find("Microsoft.Extensions.Caching.Memory.MemoryCache").unwrap();
    match report["real_cache"].as_bool().unwrap() {
        true => assert!(count(cache, "oldest") < 600 * second, "{cache:?}"),
        false => assert_eq!(age(cache).0, -34 * 60 * second),
    }

    let hosts: Vec<(String, i64)> = sheet.lists["http_pools"]
        .iter()
        .map(|row| (text(row, "host").to_owned(), count(row, "connections")))
        .collect();
    let host = |port: &str| format!("127.0.0.1:{}", report[port].as_i64().unwrap());
    assert_eq!(
        hosts,
        [(host("port_of_three"), 3), (host("port_of_two"), 2)],
        "{version}"
    );

    let exceptions = &sheet.lists["exceptions"];
    let shelf = exceptions
        .iter()
        .find(|r| text(r, "type") == "Shop.Shapes.ShelfException")
        .unwrap();
    assert_eq!(
        (
            count(shelf, "count"),
            count(shelf, "thrown"),
            count(shelf, "inner")
        ),
        (12, 6, 5)
    );
}

macro_rules! on_every_runtime {
    ($($name:ident: $version:ident),*) => {$(
        mod $name {
            use super::Version;

            #[test]
            fn facts_are_what_the_process_says() {
                super::check(Version::$version);
            }

            #[test]
            fn well_known_shapes_hold_what_the_process_says() {
                super::check_shapes(Version::$version);
            }
        }
    )*};
}

on_every_runtime!(net31: Net31, net8: Net8, net9: Net9, net10: Net10);
