//! Real services on every runtime: they start, say who they are, obey, and are gone afterwards.
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Version, runtimes, targets};

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
