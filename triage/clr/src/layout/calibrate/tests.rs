//! Calibration against the tables that were proved: on real dumps, with the version hidden and every table withheld.

use super::super::{Layout, TokenWord, candidates};
use super::*;
use crate::runtime::{Options, Runtime};
use leakhound_dump::{Arch, FileSearch, Os};
use leakhound_testbed::{Version, dumps, runtimes, targets};

/// A real dump of the inventory target.
struct Dump {
    version: Version,
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

fn dump(version: Version, kind: dumps::Kind, server: bool) -> Dump {
    let folder = tempfile::tempdir().unwrap();
    let root = runtimes::get(version).unwrap();
    let launch = targets::app("inventory").unwrap().on(&root);
    let launch = if server { launch.server_gc(2) } else { launch };
    let service = launch.start().unwrap();
    let file = folder.path().join("core");
    dumps::createdump(&root, service.pid(), kind, &file).unwrap();
    Dump {
        version,
        file,
        _folder: folder,
    }
}

impl Dump {
    /// Opens it; `pretend` is a version that the runtime's path then has.
    fn open(&self, pretend: Option<&str>, options: &Options) -> Runtime {
        let source = leakhound_archive::open_readable(&self.file).unwrap();
        let dump_options = leakhound_dump::Options {
            // createdump of 3.1 leaves metadata out.
            files: (self.version == Version::Net31).then(FileSearch::this_machine),
            ..Default::default()
        };
        let mut image = leakhound_dump::open_with(source, &dump_options).unwrap();
        for module in &mut image.modules {
            if let Some(version) = pretend.filter(|_| module.file_name() == "libcoreclr.so") {
                module.path = format!("/Microsoft.NETCore.App/{version}/libcoreclr.so").into();
            }
        }
        Runtime::open(&image, options).unwrap()
    }

    fn by_table(&self) -> Runtime {
        self.open(None, &Options::default())
    }

    /// With the version hidden (no build is numbered so) and every table withheld.
    fn calibrated(&self) -> Runtime {
        let options = Options {
            without_tables: true,
            ..Options::default()
        };
        self.open(Some("99.0.0"), &options)
    }
}

/// Every field that a table has, compared with what calibration found.
fn compare(table: &Layout, found: &Layout, what: &str) {
    let (tt, ft) = (&table.thread, &found.thread);
    let (tm, fm) = (&table.module, &found.module);
    let (td, fd) = (&table.dac, &found.dac);
    let slots = [
        ("list of threads", td.thread_store, fd.thread_store),
        ("free blocks", td.free_method_table, fd.free_method_table),
        ("objects", td.object_method_table, fd.object_method_table),
        ("strings", td.string_method_table, fd.string_method_table),
    ];
    let places = [
        (
            "first link",
            table.thread_store.first_link,
            found.thread_store.first_link,
        ),
        ("link", tt.link, ft.link),
        ("os id", tt.os_id, ft.os_id),
        ("managed id", tt.managed_id, ft.managed_id),
        ("state", tt.state, ft.state),
        ("mode", tt.preemptive_disabled, ft.preemptive_disabled),
        ("frame", tt.frame, ft.frame),
        ("thread object", tt.exposed_object, ft.exposed_object),
        ("thread statics", tt.statics, ft.statics),
        ("types", tm.type_def_map, fm.type_def_map),
        ("image", tm.pe_assembly, fm.pe_assembly),
        ("path", tm.image_path, fm.image_path),
        ("instances", tm.instantiations, fm.instantiations),
        (
            "assemblies",
            table.app_domain.assemblies,
            found.app_domain.assemblies,
        ),
    ];
    let mut wrong: Vec<String> = Vec::new();
    for (name, table, found) in slots {
        if table != found {
            wrong.push(format!("{name} {found} instead of {table}"));
        }
    }
    for (name, table, found) in places {
        if table != found {
            wrong.push(format!("{name} {found} instead of {table}"));
        }
    }
    // One process does not use every place.
    for (name, table, found) in [
        ("images", tm.pe_image, fm.pe_image),
        ("image layouts", tm.image_layouts, fm.image_layouts),
    ] {
        if found.is_empty() || !found.iter().all(|place| table.contains(place)) {
            wrong.push(format!("{name} {found:?} instead of {table:?}"));
        }
    }
    if ft.alloc_context != tt.alloc_context {
        wrong.push(format!(
            "allocation context {:?} instead of {:?}",
            ft.alloc_context, tt.alloc_context
        ));
    }
    if found.app_domain.entry_to_module != table.app_domain.entry_to_module {
        wrong.push(format!(
            "way to modules {:?}",
            found.app_domain.entry_to_module
        ));
    }
    let families = |l: &Layout| (l.token, l.statics.clone(), l.module.instantiation_buckets);
    if families(found) != families(table) {
        wrong.push(format!("{:?}", families(found)));
    }
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

/// Both readings of one dump, number by number.
fn equal(by_table: &Runtime, calibrated: &Runtime, what: &str) {
    let info = calibrated.info();
    assert_eq!(info.layout_source, LayoutSource::Calibrated, "{what}");
    assert!(!info.layout_proven, "{what}");
    assert!(by_table.info().layout_proven, "{what}");
    assert_eq!(calibrated.threads(), by_table.threads(), "{what}");
    assert_eq!(calibrated.modules(), by_table.modules(), "{what}");
    assert_eq!(calibrated.statics(), by_table.statics(), "{what}");
    assert_eq!(
        calibrated.thread_statics(),
        by_table.thread_statics(),
        "{what}"
    );
    let census = |runtime: &Runtime| {
        let walk = runtime.walk(Vec::new, |objects: &mut Vec<_>, object| {
            objects.push(object)
        });
        let mut census = std::collections::BTreeMap::<String, (u64, u64)>::new();
        for object in walk.accumulators.into_iter().flatten() {
            let name = runtime.type_info(object.type_id).unwrap().name.clone();
            let entry = census.entry(name).or_default();
            entry.0 += 1;
            entry.1 += object.size;
        }
        census
    };
    assert_eq!(census(calibrated), census(by_table), "{what}");
    let completeness = calibrated.completeness();
    assert!(completeness.is_whole(), "{what}: {completeness:?}");
    assert_eq!(
        completeness.notes,
        ["There is no proved layout for this runtime: offsets were found by calibration."],
        "{what}"
    );
}

#[test]
fn calibration_finds_the_proved_tables_blind_in_heap_dumps() {
    for version in Version::ALL {
        let dump = dump(version, dumps::Kind::Heap, false);
        let (by_table, calibrated) = (dump.by_table(), dump.calibrated());
        let what = format!("{version} heap dump, workstation GC");
        compare(&by_table.layout, &calibrated.layout, &what);
        equal(&by_table, &calibrated, &what);
    }
}

#[test]
fn calibration_finds_the_proved_tables_blind_in_full_dumps_of_server_gc() {
    for version in Version::ALL {
        let dump = dump(version, dumps::Kind::Full, true);
        let (by_table, calibrated) = (dump.by_table(), dump.calibrated());
        let what = format!("{version} full dump, server GC");
        compare(&by_table.layout, &calibrated.layout, &what);
        equal(&by_table, &calibrated, &what);
    }
}

/// The tables of 5, 6 and 7 have no dump of their own here. On one of a neighbor they are wrong in many places: they must be
/// refused or corrected, until everything is as the neighbor's proved table has it.
#[test]
fn an_unproven_table_on_another_runtime_ends_in_the_right_layout() {
    for (version, claims) in [
        (Version::Net31, ["5.0.17", "6.0.36"]),
        (Version::Net8, ["6.0.36", "7.0.20"]),
        // No table at all: 11, and a build of one's own.
        (Version::Net10, ["11.0.0", "42.42.42"]),
    ] {
        let dump = dump(version, dumps::Kind::Heap, false);
        let by_table = dump.by_table();
        for claim in claims {
            let misled = dump.open(Some(claim), &Options::default());
            let what = format!("{version} that calls itself {claim}");
            compare(&by_table.layout, &misled.layout, &what);
            assert_eq!(misled.info().version.to_string(), claim);
            assert_eq!(
                misled.info().layout_source,
                LayoutSource::Calibrated,
                "{what}"
            );
            assert!(!misled.info().layout_proven, "{what}");
            assert_eq!(misled.statics(), by_table.statics(), "{what}");
            assert_eq!(misled.threads(), by_table.threads(), "{what}");
            let completeness = misled.completeness();
            assert!(completeness.is_whole(), "{what}: {completeness:?}");
            assert!(
                completeness.notes.iter().any(|n| n.contains("calibration")),
                "{what}: {completeness:?}"
            );
        }
    }
}

/// From 9 on the runtime describes itself: the tables must agree with it, in dumps that have the descriptor, and in those
/// that have it in the runtime's file only.
#[test]
fn the_descriptor_confirms_the_tables() {
    for version in [Version::Net9, Version::Net10] {
        let dump = dump(version, dumps::Kind::Full, false);
        let runtime = dump.by_table();
        assert_eq!(
            runtime.info().layout_source,
            LayoutSource::Descriptor,
            "{version}"
        );
        assert!(runtime.info().layout_proven, "{version}");
        assert_eq!(runtime.completeness().notes, Vec::<String>::new());
    }
}

/// A table that lies about what its anchors do not prove is corrected, and says so.
#[test]
fn a_layout_that_drifted_is_corrected_where_it_is_wrong() {
    let proven = candidates(Some((8, 0)), Os::Linux, Arch::X64).remove(0);
    let mut drifted = proven.clone();
    drifted.proven = false;
    drifted.thread.os_id += 8;
    drifted.thread.statics -= 16;
    drifted.module.type_def_map += 32;
    drifted.module.pe_assembly -= 8;
    drifted.module.instantiations += 8;
    drifted.app_domain.assemblies -= 64;
    drifted.token = TokenWord::Long;
    drifted.statics = StaticsLayout::PerModule {
        block: 1000,
        index: 1008,
    };
    drifted.thread.link = proven.thread.link;
    drifted.module.image_path = NOWHERE;
    let changes = merge(&mut drifted, &proven);
    compare(&proven, &drifted, "merged");
    assert_eq!(changes.added, ["image paths"]);
    assert_eq!(
        changes.corrected,
        [
            "thread ids",
            "thread statics",
            "type definitions",
            "images",
            "generic instances",
            "assemblies",
            "type tokens",
            "static fields",
        ]
    );
}

/// What calibration does not find costs the features that would name wrong objects, and nothing else.
#[test]
fn what_is_not_found_costs_one_feature_each() {
    let mut layout = candidates(Some((8, 0)), Os::Linux, Arch::X64).remove(0);
    let nothing = Layout::unknown((0, 0), Os::Linux, Arch::X64);
    let before = layout.clone();
    merge(&mut layout, &nothing);
    assert_eq!(layout.thread.statics, NOWHERE);
    assert_eq!(layout.module.type_def_map, before.module.type_def_map);
    assert_eq!(layout.thread.os_id, before.thread.os_id);
    let lost = missing(&nothing, false);
    assert!(lost.len() >= 5, "{lost:?}");
    assert_eq!(missing(&nothing, true).len(), 1);
    assert!(missing(&before, false).is_empty());
}
