//! `leakhound heap` as users and programs meet it, held to what a process says about itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod views;

use leakhound_testbed::{Service, Version, dumps, runtimes, targets};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use views::{ask, check, err, find, leakhound, rows, sum, text};

const REAL_DUMP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/shop-pricing.core.zst"
);

/// The contract for programs: keys of each view, in order.
const KEYS: &[(&str, &str)] = &[
    ("types", "type count bytes"),
    (
        "gen",
        "heap generation reserved_bytes committed_bytes object_count object_bytes free_count free_bytes largest_free_bytes",
    ),
    ("statics", "field address type"),
    (
        "dominators",
        "rank depth address count bytes retained_bytes type held_by",
    ),
    ("handles", "kind count bytes"),
    ("finalizer", "type ready registered"),
    (
        "threads",
        "managed_id os_id name state kind gc_mode last_exception address",
    ),
    ("modules", "name path kind version mvid base bytes metadata"),
    ("map", "start end bytes resident_bytes kind protection name"),
];

fn start(version: Version, server: bool) -> Service {
    let launch = targets::app("inventory")
        .unwrap()
        .on(&runtimes::get(version).unwrap());
    if server { launch.server_gc(2) } else { launch }
        .start()
        .unwrap()
}

fn dump(service: &Service, version: Version, kind: dumps::Kind, file: &Path) {
    dumps::createdump(&runtimes::get(version).unwrap(), service.pid(), kind, file).unwrap();
}

#[test]
fn json_has_exactly_the_promised_keys_and_the_views_agree() {
    for (view, keys) in KEYS {
        let rows = rows(REAL_DUMP, view);
        assert!(!rows.is_empty(), "{view}");
        for row in &rows {
            let mut found: Vec<&String> = row.as_object().unwrap().keys().collect();
            let mut promised: Vec<&str> = keys.split(' ').collect();
            found.sort();
            promised.sort_unstable();
            assert_eq!(found, promised, "{view}");
        }
    }
    let (types, generations) = (rows(REAL_DUMP, "types"), rows(REAL_DUMP, "gen"));
    assert_eq!(sum(&types, "count"), sum(&generations, "object_count"));
    assert_eq!(sum(&types, "bytes"), sum(&generations, "object_bytes"));
    assert_eq!(types[0]["type"], "System.Byte[]", "the biggest is first");
    let (with_free, _) = ask(REAL_DUMP, "types", &["--free"]);
    let free = find(&with_free, "type", "Free");
    assert_eq!(free["count"], sum(&generations, "free_count"));
    assert_eq!(free["bytes"], sum(&generations, "free_bytes"));
    assert_eq!(with_free.len(), types.len() + 1);
    let (quick, _) = ask(REAL_DUMP, "gen", &["--quick"]);
    for (quick, walked) in quick.iter().zip(&generations) {
        assert_eq!(quick["committed_bytes"], walked["committed_bytes"]);
        assert_eq!(quick["reserved_bytes"], walked["reserved_bytes"]);
        assert_eq!(quick["object_count"], Value::Null);
        assert_eq!(quick["free_bytes"], Value::Null);
    }
    let names: Vec<&str> = generations
        .iter()
        .map(|r| r["generation"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gen0", "gen1", "gen2", "loh", "poh", "frozen"]);
}

#[test]
fn rows_are_sorted_and_cut_as_asked() {
    let names = |more: &[&str]| -> Vec<String> {
        let (rows, _) = ask(REAL_DUMP, "types", more);
        rows.iter()
            .map(|r| r["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let by_count = names(&["--sort", "count", "--limit", "3"]);
    assert_eq!(by_count[..2], ["System.String", "Shop.Pricing.QuoteLine"]);
    let by_name = names(&["--sort", "type"]);
    assert!(by_name.is_sorted());
    let back = names(&["--sort", "type", "--reverse"]);
    assert!(back.iter().rev().eq(&by_name));
    assert_eq!(names(&["--limit", "0"]).len(), by_name.len());
}

/// What a column is sorted by: numbers, addresses, words.
fn order(value: &Value) -> (u64, String) {
    match value {
        Value::Number(n) => (n.as_u64().unwrap(), String::new()),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => (u64::from_str_radix(digits, 16).unwrap(), String::new()),
            None => (0, text.clone()),
        },
        other => (0, other.to_string()),
    }
}

#[test]
fn every_view_is_sorted_by_the_column_that_is_named_and_cut_behind_it() {
    let (deep, _) = ask(REAL_DUMP, "dominators", &["--depth", "3", "--limit", "3"]);
    let object = deep[2]["address"].as_str().unwrap();
    for (view, argument, column) in [
        ("types", None, "count"),
        ("objects", Some("System.String"), "address"),
        ("path", Some(object), "address"),
        ("dominators", None, "bytes"),
        ("gen", None, "committed_bytes"),
        ("statics", None, "address"),
        ("handles", None, "kind"),
        ("finalizer", None, "registered"),
        ("threads", None, "os_id"),
        ("strings", None, "length"),
        ("modules", None, "bytes"),
        ("map", None, "bytes"),
    ] {
        let sorted = |more: &[&str]| -> Vec<Value> {
            let mut arguments: Vec<&str> = argument.into_iter().collect();
            arguments.extend(["--sort", column]);
            arguments.extend(more);
            let (rows, _) = ask(REAL_DUMP, view, &arguments);
            rows.iter().map(|row| row[column].clone()).collect()
        };
        let all = sorted(&[]);
        // What is unknown comes last, either way round.
        let known = |rows: &[Value]| -> Vec<(u64, String)> {
            let known = rows.iter().filter(|value| !value.is_null());
            known.map(order).collect()
        };
        let one_way = known(&all);
        assert!(one_way.len() > 1, "{view}: {all:?}");
        assert!(all[one_way.len()..].iter().all(Value::is_null), "{view}");
        let falls = one_way.is_sorted_by(|a, b| a >= b);
        assert!(falls || one_way.is_sorted(), "{view}: {one_way:?}");
        let two = sorted(&["--limit", "2"]);
        assert_eq!(two[..], all[..2], "{view}");
        let back = sorted(&["--reverse"]);
        let mut other_way = known(&back);
        other_way.reverse();
        assert_eq!(other_way, one_way, "{view}");
    }
}

#[test]
fn text_reads_well() {
    let table = |arguments: &[&str]| {
        let mut all = vec!["heap", REAL_DUMP];
        all.extend(arguments);
        let output = leakhound(&all);
        assert!(output.status.success(), "{}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let none = ["--modules", "none"];
    insta::assert_snapshot!(
        "types",
        table(&[&["types", "--limit", "6"][..], &none].concat())
    );
    insta::assert_snapshot!("gen", table(&[&["gen"][..], &none].concat()));
    insta::assert_snapshot!("handles", table(&[&["handles"][..], &none].concat()));
    insta::assert_snapshot!("threads", table(&[&["threads"][..], &none].concat()));
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let refused = |arguments: &[&str], code: i32, expected: &str| {
        let output = leakhound(arguments);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    };
    refused(&["heap", REAL_DUMP, "typs"], 2, "types");
    refused(
        &["heap", REAL_DUMP, "types", "--sort", "byte"],
        2,
        "did you mean `bytes`?",
    );
    refused(
        &["heap", REAL_DUMP, "types", "--quick"],
        2,
        "--quick is for gen",
    );
    refused(&["heap", REAL_DUMP, "objects"], 2, "objects needs a TYPE");
    refused(&["heap", REAL_DUMP, "path"], 2, "path needs an ADDR");
    refused(
        &["heap", REAL_DUMP, "path", "Shop.Cart"],
        2,
        "`Shop.Cart` is no address",
    );
    refused(
        &["heap", REAL_DUMP, "types", "--depth", "2"],
        2,
        "--depth is for dominators",
    );
    refused(
        &["heap", REAL_DUMP, "gen", "loh"],
        2,
        "takes nothing behind it",
    );
    refused(&["heap", "pid:x", "gen"], 2, "pid:4711");
    refused(&["heap", "pid:4194999", "gen"], 3, "does not exist");
    refused(&["heap", "/does/not/exist", "types"], 3, "/does/not/exist");
    let own = format!("pid:{}", std::process::id());
    refused(&["heap", &own, "types"], 3, "no .NET runtime found");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("core");
    std::fs::write(&page, "<!DOCTYPE html><html></html>").unwrap();
    refused(&["heap", text(&page), "types"], 3, "HTML page");
    let cut = folder.path().join("cut.zst");
    let whole = std::fs::read(REAL_DUMP).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    refused(&["heap", text(&cut), "types"], 3, "cut.zst");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(["heap", REAL_DUMP, "map", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert!(!err(&output).contains("panicked"), "{}", err(&output));
}

#[test]
fn objects_of_a_type_and_contents_of_strings() {
    let types = rows(REAL_DUMP, "types");
    let quotes = find(&types, "type", "Shop.Pricing.Quote");
    let (objects, _) = ask(REAL_DUMP, "objects", &["Shop.Pricing.Quote"]);
    assert_eq!(objects.len() as u64, quotes["count"].as_u64().unwrap());
    assert_eq!(sum(&objects, "bytes"), quotes["bytes"].as_u64().unwrap());
    assert!(
        objects
            .iter()
            .all(|o| o["address"].as_str().unwrap().starts_with("0x7f"))
    );
    let (short, _) = ask(REAL_DUMP, "objects", &["Quote"]);
    assert_eq!(short, objects, "the short name will do");
    let (few, _) = ask(REAL_DUMP, "objects", &["System.Byte[]", "--limit", "3"]);
    let (all, _) = ask(REAL_DUMP, "objects", &["System.Byte[]"]);
    assert_eq!(few[..], all[..3]);
    let (none, said) = ask(REAL_DUMP, "objects", &["Shop.Pricing.Quot"]);
    assert!(
        none.is_empty() && said.contains("Did you mean `Shop.Pricing.Quote`"),
        "{said}"
    );
    let (parts, _) = ask(
        REAL_DUMP,
        "objects",
        &["*Shop.Pricing.Quote*", "--limit", "100000"],
    );
    assert!(parts.len() > objects.len());

    let (strings, said) = ask(REAL_DUMP, "strings", &[]);
    assert!(said.contains("--show-strings"), "{said}");
    assert!(
        strings
            .iter()
            .all(|s| s["value"].as_str().unwrap().contains("characters, #"))
    );
    let keys = ["bytes", "count", "length", "value", "wasted_bytes"];
    let mut found: Vec<&String> = strings[0].as_object().unwrap().keys().collect();
    found.sort();
    assert_eq!(found, keys);
    let (shown, _) = ask(REAL_DUMP, "strings", &["--show-strings"]);
    assert_eq!(sum(&shown, "count"), sum(&strings, "count"));
    assert!(
        shown
            .iter()
            .any(|s| s["value"].as_str().unwrap().starts_with('"'))
    );
}

#[test]
fn what_keeps_most_alive_and_who_keeps_it() {
    let (top, _) = ask(REAL_DUMP, "dominators", &["--limit", "5"]);
    assert_eq!(top.len(), 5);
    let quotes = &top[0];
    let dictionary = "System.Collections.Generic.Dictionary<System.String, Shop.Pricing.Quote>";
    assert_eq!(quotes["type"], dictionary);
    assert_eq!(quotes["held_by"], "static Shop.Pricing.QuoteCache.Quotes");
    let retained = |row: &Value| row["retained_bytes"].as_u64().unwrap();
    assert!(
        top.windows(2)
            .all(|pair| retained(&pair[0]) >= retained(&pair[1]))
    );
    let whole = sum(&rows(REAL_DUMP, "types"), "bytes");
    assert!((whole / 2..whole).contains(&retained(quotes)), "of {whole}");

    // Below it its entries, and below those the quotes; what a level dominates adds up.
    let (deep, _) = ask(REAL_DUMP, "dominators", &["--depth", "3", "--limit", "300"]);
    let depths: Vec<u64> = deep.iter().map(|r| r["depth"].as_u64().unwrap()).collect();
    assert_eq!(depths[..3], [1, 2, 3]);
    assert_eq!(deep[0], *quotes);
    assert!(deep[1]["type"].as_str().unwrap().ends_with("Entry[]"));
    assert_eq!(deep[2]["type"], "Shop.Pricing.Quote");
    let below: u64 = deep.iter().filter(|r| r["depth"] == 3).map(retained).sum();
    assert!(below < retained(&deep[1]) && retained(&deep[1]) < retained(quotes));
    let (types, _) = ask(REAL_DUMP, "dominators", &["--types"]);
    let quote = find(&types, "type", "Shop.Pricing.Quote");
    let (objects, _) = ask(REAL_DUMP, "objects", &["Shop.Pricing.Quote"]);
    assert!(quote["count"].as_u64().unwrap() <= objects.len() as u64);
    assert!(retained(quote) > 10 * quote["bytes"].as_u64().unwrap());

    let address = deep[2]["address"].as_str().unwrap();
    let (path, _) = ask(REAL_DUMP, "path", &[address]);
    let first: Vec<&Value> = path.iter().filter(|row| row["path"] == 1).collect();
    let cells = |key: &str| -> Vec<&Value> { first.iter().map(|row| &row[key]).collect() };
    assert_eq!(
        cells("field"),
        [&Value::Null, &"_entries".into(), &"[]".into(), &Value::Null]
    );
    assert_eq!(cells("root"), ["static"; 4]);
    assert_eq!(cells("step"), [0, 1, 2, 3]);
    assert_eq!(first[0]["type"], "static Shop.Pricing.QuoteCache.Quotes");
    assert_eq!(first[0]["address"], Value::Null);
    assert_eq!(
        (&first[1]["type"], &first[1]["address"]),
        (&quotes["type"], &quotes["address"])
    );
    assert_eq!(first[3]["address"], address);
    assert_eq!(retained(first[3]), retained(&deep[2]));
    let keys: Vec<&String> = first[0].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 8);

    // In the middle of an object, and where there is none.
    let inside = format!("{:x}", u64::from_str_radix(&address[2..], 16).unwrap() + 8);
    let (same, said) = ask(REAL_DUMP, "path", &[&inside]);
    assert_eq!(same, path);
    assert!(said.contains("lies inside of the object at"), "{said}");
    let (none, said) = ask(REAL_DUMP, "path", &["0x10"]);
    assert!(
        none.is_empty() && said.contains("no object at 0x10"),
        "{said}"
    );
}

#[test]
fn progress_is_told_to_a_pipe_when_it_is_asked_for() {
    let said = |progress: &[&str]| {
        let mut arguments = vec!["heap", REAL_DUMP, "dominators", "--limit", "1"];
        arguments.extend(progress);
        let output = leakhound(&arguments);
        assert!(output.status.success(), "{}", err(&output));
        err(&output)
    };
    let stages = said(&["--progress"]);
    assert!(stages.contains("% finding owners\n"), "{stages}");
    assert_eq!(said(&[]), said(&["--progress=never"]));
    assert!(!said(&[]).contains('%'));
}

#[test]
fn progress_is_shown_on_a_terminal_without_being_asked_for() {
    use std::io::Read;
    use std::os::fd::{FromRawFd, OwnedFd};
    let (mut own, mut theirs) = (-1, -1);
    let size = libc::winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: two places for descriptors, no name, default settings, and a size that outlives the call.
    let opened = unsafe {
        libc::openpty(
            &raw mut own,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened and belong to nobody else.
    let (own, theirs) = unsafe { (OwnedFd::from_raw_fd(own), OwnedFd::from_raw_fd(theirs)) };
    let mut child = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(["heap", REAL_DUMP, "dominators", "--format", "json"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdout(Stdio::piped())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // A terminal whose other end is closed ends with an error.
        let _ = std::fs::File::from(own).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut told = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success());
    let rows: Vec<Value> = serde_json::from_str(&told).unwrap();
    assert!(!rows.is_empty());
    let shown = reader.join().unwrap();
    assert!(
        shown.contains("dominators") && shown.contains('%'),
        "{shown}"
    );
}

#[test]
fn running_processes_and_their_dumps_give_the_numbers_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    for (i, version) in Version::ALL.into_iter().enumerate() {
        let service = start(version, i % 2 == 1);
        let live = format!("pid:{}", service.pid());
        check(
            &live,
            service.report(),
            "libcoreclr.so",
            &format!("{version} live"),
        );
        let file = folder.path().join("core");
        dump(&service, version, dumps::Kind::Heap, &file);
        check(
            text(&file),
            service.report(),
            "libcoreclr.so",
            &format!("{version} dump"),
        );
        let zst = folder.path().join("core.zst");
        let packed = Command::new("zstd")
            .args(["-q", "-f", text(&file), "-o", text(&zst)])
            .status();
        if i == 1 && packed.is_ok_and(|s| s.success()) {
            assert_eq!(
                rows(text(&file), "types"),
                rows(text(&zst), "types"),
                "{version} zst"
            );
        }
    }
}

#[test]
fn a_process_that_never_rests_can_be_looked_into() {
    let launch = targets::app("busy")
        .unwrap()
        .on(&runtimes::get(Version::Net8).unwrap());
    let service = launch.start().unwrap();
    let live = format!("pid:{}", service.pid());
    for _ in 0..5 {
        let (generations, said) = ask(&live, "gen", &["--quick"]);
        assert_eq!(generations.len(), 6);
        assert!(
            (1 << 20..2 << 30).contains(&sum(&generations, "committed_bytes")),
            "{said}"
        );
        assert!(said.contains("went on while it was read"), "{said}");
    }
    let types = rows(&live, "types");
    assert!(types.iter().any(|r| r["type"] == "Shop.Rush.Order"));
    let handles = rows(&live, "handles");
    let pinned = find(&handles, "kind", "pinned")["count"].as_u64().unwrap();
    assert!(pinned >= service.number("/pinned_always").unwrap());
}

/// Names that only metadata can give.
fn named(types: &[Value]) -> usize {
    types
        .iter()
        .filter(|r| !r["type"].as_str().unwrap().contains("!0x"))
        .count()
}

#[test]
fn names_come_back_from_a_folder_of_modules_and_wrong_builds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(Version::Net31, false);
    let file = folder.path().join("core");
    dump(&service, Version::Net31, dumps::Kind::Heap, &file);
    let (without, said) = ask(text(&file), "types", &["--modules", "none"]);
    assert!(
        named(&without) * 4 < without.len(),
        "createdump of 3.1 leaves metadata out"
    );
    assert!(said.contains("modules without metadata"), "{said}");

    // The right files, some folders down, between files of another build that have the same names.
    let modules = folder.path().join("modules");
    let framework = |version| {
        let root = runtimes::get(version).unwrap();
        root.createdump().parent().unwrap().to_owned()
    };
    let right = modules.join("b/c");
    std::fs::create_dir_all(&right).unwrap();
    copy_modules(&framework(Version::Net31), &right);
    let app = targets::app("inventory").unwrap().dll;
    std::fs::copy(&app, right.join(app.file_name().unwrap())).unwrap();
    let wrong = modules.join("a");
    std::fs::create_dir_all(&wrong).unwrap();
    copy_modules(&framework(Version::Net8), &wrong);
    let (with, said) = ask(text(&file), "types", &["--modules", text(&modules)]);
    assert_eq!(named(&with), with.len(), "{said}");
    assert!(
        said.contains(
            "a/System.Private.CoreLib.dll was not used: its PE header is that of another build"
        ),
        "{said}"
    );
    let item = find(&with, "type", "Shop.Inventory.Item");
    assert_eq!(item["count"], 5000);

    // Only wrong ones: nothing is named after them.
    let (refused, said) = ask(text(&file), "types", &["--modules", text(&wrong)]);
    assert_eq!(named(&refused), named(&without), "{said}");
    // The same in a diagnosis.
    let output = leakhound(&[
        "triage",
        text(&file),
        "--modules",
        text(&modules),
        "--format",
        "json",
    ]);
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = diagnosis["facts"]["types"].to_string();
    assert!(!listed.contains("!0x"), "{listed}");
}

fn copy_modules(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "dll") {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn a_bundle_takes_the_modules_along_that_its_dump_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(Version::Net31, false);
    let config = folder.path().join("leakhound.toml");
    std::fs::write(&config, "[capture]\nmethod = \"runtime\"\n").unwrap();
    let archive = folder.path().join("archive");
    let pid = service.pid().to_string();
    for _ in 0..2 {
        let output = leakhound(&[
            "capture",
            &pid,
            "--config",
            text(&config),
            "--out",
            text(&archive),
            "--service",
            "stock",
            "--no-triage",
        ]);
        assert!(output.status.success(), "{}", err(&output));
    }
    let mut bundles: Vec<PathBuf> = std::fs::read_dir(archive.join("stock"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .collect();
    bundles.sort();
    let core = |bundle: &Path| {
        use std::os::unix::fs::MetadataExt;
        let file = bundle.join("modules/System.Private.CoreLib.dll");
        std::fs::metadata(file).unwrap().ino()
    };
    assert_eq!(
        core(&bundles[0]),
        core(&bundles[1]),
        "one copy for both bundles"
    );

    // Elsewhere, without the archive, without the paths of the process.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&bundles[0], &elsewhere).unwrap();
    let (types, said) = ask(text(&elsewhere), "types", &["--modules", "none"]);
    assert_eq!(named(&types), types.len(), "{said}");
    assert_eq!(find(&types, "type", "Shop.Inventory.Item")["count"], 5000);
    std::fs::rename(elsewhere.join("modules"), folder.path().join("gone")).unwrap();
    let (types, _) = ask(text(&elsewhere), "types", &["--modules", "none"]);
    assert!(named(&types) * 4 < types.len(), "they did come from there");
}
