//! The archive folder as its users see it: seal, list, find, read, verify, prune.

use crate::support::{at, hidden, noise, seal};
use jiff::SignedDuration;
use leakhound_archive::bundle::{CORE_FILE, DIAGNOSIS_FILE, MANIFEST_FILE, SHEET_FILE};
use leakhound_archive::retention::{Limits, Policy, Target};
use leakhound_archive::{Archive, ArchiveError, Bundle, Filter, Manifest, ReadAt, SealOptions};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;

const CART: &str = "fabric:/Shop/Cart";

fn archive() -> (tempfile::TempDir, Archive) {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(&folder.path().join("a/b")).unwrap();
    (folder, archive)
}

fn keys(bundles: &[Bundle]) -> Vec<String> {
    bundles.iter().map(|b| b.id().key()).collect()
}

fn quiet(_: u64, _: u64) {}

#[test]
fn a_bundle_is_what_was_sealed() {
    let (_folder, archive) = archive();
    let raw = noise(1_000_000, 1);
    let bundle = seal(&archive, CART, at(0), &raw).unwrap();
    assert_eq!(
        bundle.id().key(),
        "fabric=3A=2FShop=2FCart/20261122T185155Z-node-1-4711"
    );
    assert_eq!(bundle.path(), archive.location().join(bundle.id().key()));
    let manifest = bundle.manifest().unwrap();
    assert_eq!(
        (
            manifest.service.as_str(),
            manifest.node.as_str(),
            manifest.pid
        ),
        (CART, "node-1", 4711)
    );
    assert_eq!(manifest.captured_at, Some(at(0)));
    let dump = bundle.open_dump().unwrap();
    let mut back = vec![0; raw.len()];
    assert_eq!(
        (dump.len(), dump.read_at(0, &mut back).unwrap()),
        (1_000_000, 1_000_000)
    );
    assert!(back == raw);
    let sheet: serde_json::Value = bundle.read_json(SHEET_FILE).unwrap();
    assert_eq!(sheet["schema"], 1);
    assert_eq!(hidden(&archive), Vec::<String>::new());
    let verified = archive.verify(&bundle, &quiet).unwrap();
    assert!(verified.is_whole(), "{:?}", verified.problems);
    assert_eq!(
        (verified.raw_bytes, verified.n_frames, verified.n_files),
        (1_000_000, 2, 3)
    );
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), b"x").unwrap();
    archive.put_file(&bundle, DIAGNOSIS_FILE, b"{}").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [
        archive.location(),
        bundle.path().parent().unwrap(),
        bundle.path(),
    ] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let files: Vec<_> = fs::read_dir(bundle.path()).unwrap().flatten().collect();
    assert_eq!(files.len(), 4);
    for file in files {
        assert_eq!(mode(&file.path()), 0o600, "{:?}", file.file_name());
    }
}

#[test]
fn two_captures_in_one_second_both_stay() {
    let (_folder, archive) = archive();
    let ids: Vec<_> = (0..4)
        .map(|_| {
            seal(&archive, "cart", at(0), b"x")
                .unwrap()
                .id()
                .folder()
                .to_owned()
        })
        .collect();
    assert_eq!(
        ids,
        [
            "20261122T185155Z-node-1-4711",
            "20261122T185155.000Z-node-1-4711",
            "20261122T185155.001Z-node-1-4711",
            "20261122T185155.002Z-node-1-4711",
        ]
    );
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 4);
}

#[test]
fn an_unfinished_bundle_leaves_nothing() {
    let (_folder, archive) = archive();
    let writer = archive.begin(CART, at(0), "n", 1).unwrap();
    let mut dump = writer.dump(CORE_FILE, &SealOptions::default()).unwrap();
    dump.write_all(&noise(600_000, 2)).unwrap();
    assert_eq!(
        archive.list(&Filter::default()).unwrap().bundles,
        [],
        "it is not seen"
    );
    assert_eq!(archive.sweep().unwrap().n_in_use, 1, "it is not swept");
    drop(dump);
    drop(writer);
    assert_eq!(hidden(&archive), Vec::<String>::new());
}

#[test]
fn a_manifest_that_disagrees_with_its_dump_is_not_sealed() {
    let (_folder, archive) = archive();
    for record in [("memory.core.zst", 99), ("other.zst", 5), ("../x", 5)] {
        let writer = archive.begin(CART, at(0), "n", 1).unwrap();
        writer.put("memory.core.zst", b"12345").unwrap();
        let dump = leakhound_archive::manifest::DumpRecord {
            file: record.0.to_owned(),
            stored_bytes: record.1,
            ..Default::default()
        };
        writer
            .seal(Manifest {
                dump: Some(dump),
                ..Manifest::default()
            })
            .unwrap_err();
        assert_eq!(hidden(&archive), Vec::<String>::new());
    }
}

#[test]
fn bundles_are_listed_in_time_order_and_found() {
    let (_folder, archive) = archive();
    for (service, seconds) in [("b", 30), ("a", 20), (CART, 10), ("a", 0)] {
        seal(&archive, service, at(seconds), b"x").unwrap();
    }
    // What is none of ours is ignored.
    fs::create_dir_all(archive.location().join("a/notes")).unwrap();
    fs::create_dir_all(archive.location().join("a/20261122T185155Z-empty-1")).unwrap();
    fs::write(archive.location().join("state.db"), "").unwrap();
    let all = keys(&archive.list(&Filter::default()).unwrap().bundles);
    assert_eq!(
        all,
        [
            "a/20261122T185155Z-node-1-4711",
            "fabric=3A=2FShop=2FCart/20261122T185205Z-node-1-4711",
            "a/20261122T185215Z-node-1-4711",
            "b/20261122T185225Z-node-1-4711",
        ]
    );
    let count = |filter: Filter| archive.list(&filter).unwrap().bundles.len();
    assert_eq!(count(Filter::service("a")), 2);
    assert_eq!(count(Filter::service("missing")), 0);
    assert_eq!(
        count(Filter {
            since: Some(at(10)),
            until: Some(at(30)),
            ..Filter::default()
        }),
        2
    );
    assert_eq!(
        count(Filter {
            node: Some("other".into()),
            ..Filter::default()
        }),
        0
    );
    let newest = archive
        .list(&Filter {
            newest: Some(1),
            ..Filter::default()
        })
        .unwrap()
        .bundles;
    assert_eq!(keys(&newest), all[3..]);
    for wanted in [
        "20261122T185205",
        "fabric=3A",
        all[1].as_str(),
        newest[0].path().to_str().unwrap(),
        "latest",
    ] {
        let found = archive.find(wanted).unwrap().id().key();
        assert!(all.contains(&found), "{wanted}");
    }
    let by_file = newest[0].path().join(CORE_FILE);
    assert_eq!(
        archive.find(by_file.to_str().unwrap()).unwrap().id(),
        newest[0].id()
    );
    assert!(
        matches!(archive.find("2026"), Err(ArchiveError::Ambiguous { candidates, .. }) if candidates.len() == 4)
    );
    for wanted in ["", "nothing", "../..", "/etc", "a/../b"] {
        assert!(
            matches!(archive.find(wanted), Err(ArchiveError::NotFound { .. })),
            "{wanted}"
        );
    }
    assert_eq!(archive.sheets("a").unwrap().len(), 2);
    assert_eq!(archive.undiagnosed().unwrap().len(), 4);
    let usage = archive.usage().unwrap();
    assert_eq!(
        usage
            .iter()
            .map(|u| (u.service.as_str(), u.n_bundles))
            .collect::<Vec<_>>(),
        [("a", 2), ("b", 1), (CART, 1)]
    );
    assert!(
        usage
            .iter()
            .all(|u| u.stored_bytes > u.dump_bytes && u.dump_bytes > 0)
    );
}

#[test]
fn an_archive_that_is_not_there_is_an_error() {
    let error = Archive::open(Path::new("/nonexistent/leakhound"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent/leakhound") && error.contains("`location`"),
        "{error}"
    );
}

#[test]
fn documents_are_replaced_whole() {
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), b"x").unwrap();
    for round in 0..3u32 {
        let sheet = serde_json::json!({ "round": round, "padding": "x".repeat(100_000) });
        archive
            .put_file(&bundle, SHEET_FILE, &serde_json::to_vec(&sheet).unwrap())
            .unwrap();
        assert_eq!(
            bundle.read_json::<serde_json::Value>(SHEET_FILE).unwrap(),
            sheet
        );
    }
    let stored = fs::read(bundle.path().join(SHEET_FILE)).unwrap();
    assert!(
        stored.len() < 1000 && stored.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]),
        "it is stored as zstd"
    );
    for name in [
        MANIFEST_FILE,
        CORE_FILE,
        "../x",
        ".hidden",
        "a/b",
        "",
        "con",
        "x y",
    ] {
        let refused = archive.put_file(&bundle, name, b"x");
        assert!(
            matches!(refused, Err(ArchiveError::BadName { .. })),
            "{name}"
        );
    }
    assert_eq!(hidden(&archive), Vec::<String>::new());
}

#[test]
fn hostile_documents_are_bounded() {
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), b"x").unwrap();
    // 256 MiB of zeros in a few KB.
    let bomb = zstd::bulk::compress(&vec![0u8; 256 << 20], 1).unwrap();
    fs::write(bundle.path().join("facts.json.zst"), bomb).unwrap();
    let result = bundle.read_json::<serde_json::Value>(SHEET_FILE);
    assert!(matches!(result, Err(ArchiveError::TooLarge { .. })));
    fs::write(bundle.path().join("diagnosis.json"), "[".repeat(1 << 20)).unwrap();
    assert!(matches!(
        bundle.read_json::<serde_json::Value>(DIAGNOSIS_FILE),
        Err(ArchiveError::BadDocument { .. })
    ));
    // A manifest that points outside.
    let path = bundle.path().join(MANIFEST_FILE);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace(CORE_FILE, "../../../etc/passwd");
    fs::write(&path, text).unwrap();
    assert!(matches!(
        bundle.dump_path(),
        Err(ArchiveError::BadName { .. })
    ));
    assert!(matches!(
        bundle.open_dump(),
        Err(ArchiveError::BadName { .. })
    ));
}

#[test]
fn verification_names_every_damage() {
    let (_folder, archive) = archive();
    let whole = |bundle: &Bundle| archive.verify(bundle, &quiet).unwrap().problems;
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let bundle = seal(&archive, CART, at(0), &noise(900_000, 3)).unwrap();
        assert_eq!(whole(&bundle), Vec::<String>::new());
        let path = bundle.path().join(CORE_FILE);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        whole(&bundle).join("\n")
    };
    let flipped = damaged(&|b| {
        let middle = b.len() / 2;
        b[middle] ^= 1;
    });
    assert!(
        flipped.contains("BLAKE3") && flipped.contains("frame") && flipped.contains("is damaged"),
        "{flipped}"
    );
    let truncated = damaged(&|b| b.truncate(b.len() - 100));
    assert!(
        truncated.contains("does not end in a seek table")
            && truncated.contains("bytes, capture.json says"),
        "{truncated}"
    );
    let random = damaged(&|b| *b = noise(5000, 9));
    assert!(
        random.contains("BLAKE3") && random.contains("seek table"),
        "{random}"
    );
    let bundle = seal(&archive, CART, at(50), b"x").unwrap();
    fs::write(bundle.path().join(SHEET_FILE), b"no zstd").unwrap();
    let moved = archive.location().join("other/20261122T185155Z-node-1-9");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(bundle.path(), &moved).unwrap();
    let told = whole(&Bundle::open(&moved).unwrap()).join("\n");
    assert!(
        told.contains("facts.json.zst") && told.contains("the folder says pid 9"),
        "{told}"
    );
    assert!(
        told.contains(&format!("{MANIFEST_FILE} says {CART}")),
        "{told}"
    );
}

#[test]
fn progress_reaches_its_end() {
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), &noise(2_000_000, 4)).unwrap();
    let largest = std::sync::Mutex::new((0, 0));
    archive
        .verify(&bundle, &|done, total| {
            let mut largest = largest.lock().unwrap();
            *largest = (done.max(largest.0), total);
        })
        .unwrap();
    let (done, total) = largest.into_inner().unwrap();
    assert!(done == total && total > 3_000_000, "{done} of {total}");
}

#[test]
fn retention_deletes_what_it_planned_and_keeps_the_sheet() {
    let (_folder, archive) = archive();
    let day = 86_400;
    let bundles: Vec<_> = (0..5)
        .map(|i| seal(&archive, CART, at(i * day), &noise(50_000, i as u64)).unwrap())
        .collect();
    archive.keep(&bundles[0], "shown to the vendor").unwrap();
    let policy = Policy {
        bundles: Limits {
            age: Some(SignedDuration::from_hours(24 * 4)),
            ..Limits::default()
        },
        dumps: Limits {
            per_service: Some(2),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let now = at(5 * day + 60);
    let in_use = HashSet::from([bundles[4].id().key()]);
    let plan = archive.plan(&policy, &in_use, now).unwrap();
    let planned: Vec<_> = plan
        .deletions
        .iter()
        .map(|d| (d.key.clone(), d.target))
        .collect();
    assert_eq!(
        planned,
        [
            (bundles[1].id().key(), Target::Bundle),
            (bundles[2].id().key(), Target::Dump)
        ]
    );
    let before: u64 = archive.usage().unwrap()[0].stored_bytes;
    let pruned = archive.prune(&plan);
    assert_eq!((pruned.done.len(), pruned.problems), (2, vec![]));
    let after = archive.usage().unwrap().remove(0);
    assert_eq!((after.n_bundles, after.n_dumps), (4, 3));
    assert_eq!(after.stored_bytes, plan.remaining_bytes);
    assert_eq!(
        before - after.stored_bytes,
        plan.deletions.iter().map(|d| d.frees_bytes).sum::<u64>()
    );
    let without_dump = archive.bundle(&bundles[2].id().key()).unwrap();
    assert_eq!(without_dump.dump_path().unwrap(), None);
    assert!(
        without_dump
            .open_dump()
            .err()
            .unwrap()
            .to_string()
            .contains("pruned")
    );
    assert!(
        without_dump.has(SHEET_FILE) && archive.verify(&without_dump, &quiet).unwrap().is_whole()
    );
    assert_eq!(
        archive.prune(&plan).problems,
        Vec::<String>::new(),
        "a plan may be carried out twice"
    );
    archive.unkeep(&bundles[0]).unwrap();
    assert_eq!(
        archive.plan(&policy, &in_use, now).unwrap().deletions.len(),
        1
    );
    assert_eq!(hidden(&archive), Vec::<String>::new());
}

#[test]
fn a_mark_set_after_the_plan_still_protects() {
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), b"x").unwrap();
    let policy = Policy {
        bundles: Limits {
            age: Some(SignedDuration::from_hours(1)),
            ..Limits::default()
        },
        keep_newest: 0,
        ..Policy::default()
    };
    let plan = archive.plan(&policy, &HashSet::new(), at(10_000)).unwrap();
    assert_eq!(plan.deletions.len(), 1);
    archive.keep(&bundle, "wait").unwrap();
    assert_eq!(archive.prune(&plan).done, []);
    assert!(bundle.has(MANIFEST_FILE));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_out_of_the_archive() {
    let (folder, archive) = archive();
    let outside = Archive::open_or_create(&folder.path().join("outside")).unwrap();
    let foreign = seal(&outside, CART, at(0), b"x").unwrap();
    let service = archive.location().join("s");
    fs::create_dir_all(&service).unwrap();
    std::os::unix::fs::symlink(foreign.path(), service.join("20261122T185155Z-n-1")).unwrap();
    std::os::unix::fs::symlink(outside.location(), archive.location().join("linked")).unwrap();
    std::os::unix::fs::symlink(foreign.path(), service.join(".partial-x")).unwrap();
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles, []);
    archive.sweep().unwrap();
    assert!(
        archive.delete(&foreign).is_err(),
        "it is not in this archive"
    );
    assert!(foreign.manifest().is_ok());
}

#[test]
fn leftovers_of_crashes_are_swept() {
    let (_folder, archive) = archive();
    let bundle = seal(&archive, CART, at(0), b"x").unwrap();
    let service = bundle.path().parent().unwrap();
    for name in [
        ".partial-20261122T185155Z-n-1-aa",
        ".deleted-20261122T185155Z-n-1-bb",
    ] {
        fs::create_dir(service.join(name)).unwrap();
        fs::write(service.join(name).join("memory.core.zst"), "half").unwrap();
    }
    fs::write(bundle.path().join(".tmp-facts.json.zst-1-2-3"), "half").unwrap();
    fs::create_dir(archive.location().join("empty-service")).unwrap();
    let swept = archive.sweep().unwrap();
    assert_eq!(
        (swept.removed.len(), swept.n_in_use, swept.problems),
        (3, 0, vec![])
    );
    assert_eq!(hidden(&archive), Vec::<String>::new());
    assert!(!archive.location().join("empty-service").exists());
    assert_eq!(
        archive.sweep().unwrap().removed,
        Vec::<std::path::PathBuf>::new()
    );
    assert!(archive.verify(&bundle, &quiet).unwrap().is_whole());
}
