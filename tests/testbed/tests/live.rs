//! Real services on every runtime: they start, say who they are, obey, and are gone afterwards.
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Version, demo, dumps, runtimes, targets};

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn the_inventory_runs_on_every_runtime_and_says_the_same_numbers() {
    let app = targets::app("inventory").unwrap();
    let mut counts = Vec::new();
    for version in Version::ALL {
        let root = runtimes::get(version).unwrap();
        let mut service = app.on(&root).start().unwrap();
        let report = service.report().clone();
        assert_eq!(report["runtime"]["version"], version.exact());
        assert_eq!(
            service.number("/runtime/pid").unwrap(),
            u64::from(service.pid())
        );
        assert_eq!(service.number("/finalizers/lease_ready").unwrap(), 500);
        let types: Vec<(String, u64)> = report["types"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                (
                    entry["reflection_name"].as_str().unwrap().to_owned(),
                    entry["count"].as_u64().unwrap(),
                )
            })
            .collect();
        assert!(types.len() > 25, "{types:?}");
        counts.push(types);
        let again = service.refresh().unwrap();
        assert_eq!(again["statics"], report["statics"], "no collection between");
        let pid = service.pid();
        service.quit().unwrap();
        assert!(!exists(pid));
    }
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_unknown_command_fails_and_a_dropped_service_is_gone() {
    let root = runtimes::get(Version::Net8).unwrap();
    let app = targets::app("inventory").unwrap();
    let mut service = app.on(&root).server_gc(2).start().unwrap();
    assert_eq!(service.report()["runtime"]["server_gc"], true);
    let error = service.send("dance").unwrap_err().to_string();
    assert!(error.contains("unknown command dance"), "{error}");
    assert!(service.is_running());
    let pid = service.pid();
    drop(service);
    assert!(!exists(pid));
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// What a target's report must show for its fault to be there; `None` where 3.1 cannot tell.
fn fault_is_there(name: &str, report: &serde_json::Value, threads: usize, resident: u64) {
    let number = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_u64);
    let at_least = |pointer: &str, floor: u64| {
        let found = number(pointer).unwrap();
        assert!(
            found >= floor,
            "{name}: {pointer} is {found}, expected at least {floor}: {report}"
        );
    };
    match name {
        "finalizer-backlog" => at_least("/ready", 20_000),
        "loh-fragmentation" => {
            at_least("/gc/fragmented_bytes", 300_000_000);
            if number("/gc/loh_bytes").is_some() {
                at_least("/gc/loh_bytes", 400_000_000);
                at_least("/gc/loh_fragmented_bytes", 300_000_000);
            }
        }
        "pinned-handles" => {
            at_least("/pinned_handles", 5_000);
            at_least("/gc/fragmented_bytes", 100_000_000);
        }
        "static-root" => at_least("/gc/total_memory_bytes", 200_000_000),
        "thread-leak" => assert!(threads >= 650, "{threads} threads"),
        "native-growth" => {
            assert!(resident >= 300_000_000, "{resident} resident");
            assert!(number("/gc/total_memory_bytes").unwrap() < 20_000_000);
        }
        "string-duplication" => at_least("/duplicate_bytes", 100_000_000),
        "garbage-waiting" => assert!(resident >= 300_000_000, "{resident} resident"),
        "near-limit" => at_least("/gc/total_memory_bytes", 268_435_456 * 85 / 100),
        "event-handlers" => at_least("/listeners", 15_000),
        "queue-backlog" => at_least("/pending", 149_000),
        "timer-leak" => at_least("/sessions", 12_000),
        "cancellation-registrations" => at_least("/requests", 30_000),
        "async-backlog" => at_least("/calls", 40_000),
        "collection-waste" => at_least("/customers", 18_000),
        "connection-leak" => at_least("/clients", 3_000),
        "threadpool-backlog" => at_least("/searches", 20_000),
        "exceptions-kept" => at_least("/errors", 20_000),
        "dynamic-assemblies" => at_least("/mappers", 1_000),
        "load-contexts" => at_least("/results", 50),
        "weak-handles" => at_least("/tracked", 300_000),
        "strong-handles" => at_least("/calls", 30_000),
        "retained-growth" => at_least("/sessions", 20_000),
        "bounded-cache" => at_least("/cached", 20_000),
        "thread-statics" => at_least("/workers", 60),
        "large-buffers" => at_least("/running", 120),
        "healthy" => assert!(resident < 150_000_000, "{resident} resident"),
        "busy" => at_least("/pinned_at_most", number("/pinned_always").unwrap() + 1),
        "steady" => at_least("/port", 1),
        "counters" => at_least("/waiting", 3),
        "names" => {
            let names = report["names"].as_array().unwrap();
            assert!(names.len() >= 20, "{name}: {} names", names.len());
        }
        "shapes" => {
            let shapes = report["shapes"].as_array().unwrap();
            assert!(shapes.len() >= 35, "{name}: {} shapes", shapes.len());
        }
        "threads-and-locks" => {
            for pointer in ["/waiters", "/held_tills", "/kept_exceptions"] {
                at_least(pointer, 1);
            }
        }
        "compacting" | "inventory" => {}
        other => panic!("no check for the target {other}: add one"),
    }
}

#[test]
fn every_target_puts_its_fault_in_place_on_every_runtime() {
    println!(
        "{:20} {:8} {:>7} {:>9}",
        "target", "runtime", "ready", "resident"
    );
    for target in targets::all().unwrap() {
        let app = target.app(&mut |_| {}).unwrap();
        for version in Version::ALL {
            if !target.runs_on(version) {
                continue;
            }
            let root = runtimes::get(version).unwrap();
            let mut service = app.on(&root).start().unwrap();
            let threads = std::fs::read_dir(format!("/proc/{}/task", service.pid()))
                .unwrap()
                .count();
            let resident = resident(service.pid());
            println!(
                "{:20} {:8} {:5.2} s {:6} MB",
                target.name,
                version.short(),
                service.started_in().as_secs_f64(),
                resident / 1_000_000
            );
            fault_is_there(&target.name, service.report(), threads, resident);
            for command in &target.card.between_captures {
                service.send(command).unwrap();
            }
        }
    }
}

#[test]
fn the_demo_service_leaks_and_says_so() {
    let root = runtimes::get(Version::Net8).unwrap();
    let leak = demo::Leak {
        megabytes_per_second: 40,
        megabytes_at_most: 60,
    };
    let mut service = demo::demo_service(&root, leak).unwrap();
    let before = resident(service.pid());
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(service.is_running());
    let output = service.output();
    assert!(output.contains("quotes given, "), "{output}");
    let grown = resident(service.pid()).saturating_sub(before);
    assert!(
        (40_000_000..160_000_000).contains(&grown),
        "{grown}: {output}"
    );
}

#[test]
fn reference_dumps_are_elf_cores_on_every_runtime() {
    let app = targets::app("inventory").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for version in Version::ALL {
        let root = runtimes::get(version).unwrap();
        let service = app.on(&root).start().unwrap();
        let heap = folder.path().join("heap.core");
        let full = folder.path().join("full.core");
        dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &heap).unwrap();
        dumps::createdump(&root, service.pid(), dumps::Kind::Full, &full).unwrap();
        let bytes = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
        println!(
            "{version}: heap {} MB, full {} MB",
            bytes(&heap) >> 20,
            bytes(&full) >> 20
        );
        assert!(bytes(&heap) > 10 << 20);
        assert!(bytes(&full) > bytes(&heap));
        let gone = service.pid();
        drop(service);
        let error = dumps::createdump(&root, gone, dumps::Kind::Heap, &folder.path().join("none"));
        assert!(error.unwrap_err().to_string().contains("wrote no dump"));
    }
}
