//! The program built for Windows, run under wine: it reads every kind of dump as the Linux program does, captures real Windows
//! .NET processes, and as the agent captures one that leaks, diagnoses it and delivers.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_archive::Filter;
use leakhound_archive::bundle::{CORE_FILE, MINIDUMP_FILE};
use leakhound_archive::{Archive, Manifest, SealOptions};
use leakhound_testbed::{Version, WindowsProgram, targets, windows, windows_program};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(600);
const VIEWS: [&str; 8] = [
    "types",
    "gen",
    "statics",
    "handles",
    "finalizer",
    "threads",
    "modules",
    "map",
];

fn on_linux(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .output()
        .unwrap()
}

/// A configuration for a machine on which wine is slow and other tests run: its writer takes its time while the target stands
/// still.
fn configuration(folder: &Path, more: &str) -> String {
    let file = folder.join("leakhound.toml");
    let archive = WindowsProgram::path(&folder.join("archive"));
    let text = format!(
        "[archive]\nlocation = '{archive}'\n[capture]\nmax_pause = \"20 min\"\nslot_wait = \"20 min\"\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    WindowsProgram::path(&file)
}

fn on_windows(program: &WindowsProgram, arguments: &[&str]) -> Output {
    program
        .command()
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// A diagnosis without the place that the file was read from and the time of the file, which Windows keeps less exactly.
fn diagnosis(output: &Output) -> Value {
    let mut value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    for key in ["source", "captured_at", "captured_at_ms"] {
        value["subject"].as_object_mut().unwrap().remove(key);
    }
    value
}

/// Asks both programs the same and expects the same answer.
fn equal(program: &WindowsProgram, file: &Path, views: &[&str]) {
    let (here, there) = (file.display().to_string(), WindowsProgram::path(file));
    for view in views {
        let words = |file| ["heap", file, view, "--format", "json"];
        let linux = on_linux(&words(&here));
        let windows = on_windows(program, &words(&there));
        assert!(linux.status.success(), "{here}: {view}: {}", said(&linux));
        assert!(
            windows.status.success(),
            "{here}: {view}: {}",
            said(&windows)
        );
        assert!(
            linux.stdout == windows.stdout,
            "{here}: {view}:\n{}\n{}",
            said(&linux),
            said(&windows)
        );
        assert!(linux.stdout.len() > 2, "{here}: {view}: nothing");
    }
    let words = |file| ["triage", file, "--format", "json"];
    let linux = on_linux(&words(&here));
    let windows = on_windows(program, &words(&there));
    assert_eq!(
        linux.status.code(),
        windows.status.code(),
        "{}",
        said(&windows)
    );
    assert_eq!(diagnosis(&linux), diagnosis(&windows), "{here}");
}

/// A bundle with this dump sealed in it.
fn sealed(raw: &Path, name: &str, folder: &Path) -> PathBuf {
    let archive = Archive::open_or_create(&folder.join("archive")).unwrap();
    let writer = archive
        .begin("stock", jiff::Timestamp::UNIX_EPOCH, "node", 7)
        .unwrap();
    let mut seal = writer.dump(name, &SealOptions::default()).unwrap();
    std::io::copy(&mut std::fs::File::open(raw).unwrap(), &mut seal).unwrap();
    let dump = seal.finish().unwrap();
    let manifest = Manifest {
        dump: Some(dump.record(name)),
        ..Manifest::default()
    };
    writer.seal(manifest).unwrap().path().to_owned()
}

#[test]
fn a_linux_core_reads_on_windows_as_on_linux() {
    let program = windows_program::get().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop-pricing.core.zst");
    let packed = folder.path().join("shop.core.zst");
    std::fs::copy(&fixture, &packed).unwrap();
    let raw = folder.path().join("shop.core");
    let out = std::fs::File::create(&raw).unwrap();
    zstd::stream::copy_decode(std::fs::File::open(&packed).unwrap(), out).unwrap();
    equal(&program, &raw, &VIEWS);
    equal(&program, &packed, &["types"]);
    equal(
        &program,
        &sealed(&raw, CORE_FILE, folder.path()),
        &["types"],
    );
}

#[test]
fn a_windows_dump_reads_on_windows_as_on_linux_raw_compressed_and_sealed() {
    let program = windows_program::get().unwrap();
    let app = targets::app("inventory").unwrap();
    for version in windows::VERSIONS {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let raw = folder.path().join("service.dmp");
        drop(root.start_and_dump(&app, &raw).unwrap());
        equal(&program, &raw, &VIEWS);
        let packed = folder.path().join("service.dmp.zst");
        let bytes = std::fs::read(&raw).unwrap();
        std::fs::write(&packed, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        equal(&program, &packed, &["gen"]);
        let bundle = sealed(&raw, MINIDUMP_FILE, folder.path());
        equal(&program, &bundle, &["gen"]);
    }
}

/// The one bundle of an archive.
fn only_bundle(archive: &Path) -> PathBuf {
    let archive = Archive::open(archive).unwrap();
    let bundles = archive.list(&Filter::default()).unwrap().bundles;
    assert_eq!(bundles.len(), 1);
    bundles[0].path().to_owned()
}

#[test]
fn a_windows_process_is_captured_and_reads_the_same_on_both_systems() {
    let program = windows_program::get().unwrap();
    let target = targets::get("finalizer-backlog").unwrap();
    let app = target.app(&mut |_| {}).unwrap();
    let category = target.card.expect.category.clone().unwrap();
    let culprit = target.card.expect.culprit.clone().unwrap();
    for (i, version) in windows::VERSIONS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let mut service = root.launch(&app).start().unwrap();
        let archive = folder.path().join("archive");
        let kind = if i == 1 { "full" } else { "heap" };
        let output = on_windows(
            &program,
            &[
                "capture",
                &service.own_pid().unwrap().to_string(),
                "--kind",
                kind,
                "--config",
                &configuration(folder.path(), ""),
                "--format",
                "json",
            ],
        );
        assert_eq!(
            output.status.code(),
            Some(1),
            "{version}: {}",
            said(&output)
        );
        let said_there = diagnosis(&output);
        let first = &said_there["findings"][0];
        let found = first["category"].as_str().unwrap();
        let is_right = found == category || target.card.expect.or.iter().any(|or| or == found);
        assert!(is_right, "{version}: {said_there}");
        assert!(
            first["culprit"].as_str().unwrap().contains(&culprit),
            "{version}: {first}"
        );
        assert_eq!(said_there["runtime"]["os"], "windows", "{version}");
        assert_eq!(said_there["runtime"]["version"], version.exact());
        // It runs on.
        service.send("report").unwrap();

        let bundle = only_bundle(&archive);
        let again = on_linux(&["triage", &bundle.display().to_string(), "--format", "json"]);
        assert_eq!(diagnosis(&again), said_there, "{version}");
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(bundle.join("capture.json")).unwrap()).unwrap();
        assert_eq!(manifest["method"], "stop-and-stream", "{version}");
        assert!(manifest["pause_ms"].as_f64().unwrap() > 0.0, "{version}");
        assert_eq!(manifest["pid"].as_u64(), Some(service.own_pid().unwrap()));
        // wine counts neither private bytes nor handles of other processes.
        for fact in ["rss", "threads", "uptime", "node.memory"] {
            let value = manifest["process_facts"][fact].as_f64().unwrap_or(0.0);
            assert!(value > 0.0, "{version}: {fact}: {manifest}");
        }
        // Standard zstd of a standard minidump, and nothing else of its size.
        let packed = bundle.join(MINIDUMP_FILE);
        let unpacked = zstd::decode_all(std::fs::File::open(&packed).unwrap()).unwrap();
        assert!(unpacked.starts_with(b"MDMP"), "{version}");
        let listed = std::fs::read_dir(&bundle).unwrap().flatten();
        let large: Vec<PathBuf> = listed
            .filter(|e| e.metadata().unwrap().len() > 4 << 20)
            .map(|e| e.path())
            .collect();
        assert!(
            large.iter().all(|path| *path == packed),
            "{version}: {large:?}"
        );
        if version == Version::Net10 {
            equal(&program, &bundle, &VIEWS);
        }
    }
}

/// Takes a capture of a kind and gives its bundle; each has an archive of its own.
fn captured(
    program: &WindowsProgram,
    service: &leakhound_testbed::Service,
    kind: &str,
    folder: &Path,
) -> (PathBuf, Output) {
    std::fs::create_dir(folder).unwrap();
    let pid = service.own_pid().unwrap().to_string();
    let config = configuration(folder, "");
    let words = [
        "capture", &pid, "--kind", kind, "--config", &config, "--format", "json",
    ];
    let output = on_windows(program, &words);
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{kind}: {}",
        said(&output)
    );
    (only_bundle(&folder.join("archive")), output)
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|piece| piece == wanted)
}

#[test]
fn a_structure_dump_of_windows_has_the_graph_and_no_contents() {
    const SECRET: &str = "Zq7-planted-secret-91x";
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let program = windows_program::get().unwrap();
    let app = targets::app("static-root").unwrap();
    for version in [Version::Net8, Version::Net10] {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let launch = root.launch(&app).env("SHOP_PERCENT", "5");
        let mut service = launch.start().unwrap();
        // It answers that it does not know that command; the word lies in strings and in buffers from then on.
        let _ = service.send(SECRET);
        let [(whole, _), (structure, _), (again, _)] =
            [("heap", "1"), ("structure", "2"), ("heap", "3")]
                .map(|(kind, name)| captured(&program, &service, kind, &folder.path().join(name)));
        // It runs on; before, that would have changed what is compared.
        service.send("report").unwrap();
        let unpacked = |bundle: &Path| {
            let packed = std::fs::File::open(bundle.join(MINIDUMP_FILE)).unwrap();
            zstd::decode_all(packed).unwrap()
        };
        let raw = unpacked(&whole);
        for planted in [SECRET, "customer-17"] {
            assert!(
                holds(&raw, &wide(planted)),
                "{version}: {planted} was never there"
            );
        }
        let raw = unpacked(&structure);
        for planted in [SECRET, "customer-17"] {
            for bytes in [wide(planted), planted.as_bytes().to_vec()] {
                assert!(!holds(&raw, &bytes), "{version}: {planted} is in the dump");
            }
        }
        let types = |bundle: &Path| {
            let file = bundle.display().to_string();
            let output = on_linux(&["heap", &file, "types", "--format", "json"]);
            assert!(output.status.success(), "{version}: {}", said(&output));
            output.stdout
        };
        let found = types(&structure);
        assert!(
            found == types(&whole) || found == types(&again),
            "{version}: the types differ"
        );
        let file = structure.display().to_string();
        let diagnosis = diagnosis(&on_linux(&["triage", &file, "--format", "json"]));
        let culprit = diagnosis["findings"][0]["culprit"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(culprit, "Shop.Pricing.QuoteCache.Quotes", "{version}");
    }
}

#[test]
fn facts_of_a_windows_process_are_taken_without_a_dump() {
    let program = windows_program::get().unwrap();
    let app = targets::app("static-root").unwrap();
    for version in windows::VERSIONS {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let launch = root.launch(&app).env("SHOP_PERCENT", "20");
        let mut service = launch.start().unwrap();
        let facts = folder.path().join("facts");
        let (bundle, output) = captured(&program, &service, "facts", &facts);
        // It runs on.
        service.send("report").unwrap();
        let said_there = diagnosis(&output);
        let first = &said_there["findings"][0];
        assert_eq!(
            first["culprit"], "Shop.Pricing.QuoteCache.Quotes",
            "{version}: {said_there}"
        );
        assert_eq!(said_there["runtime"]["os"], "windows", "{version}");
        assert_eq!(said_there["runtime"]["version"], version.exact());
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(bundle.join("capture.json")).unwrap()).unwrap();
        assert_eq!(manifest["kind"], "facts", "{version}");
        assert!(manifest["dump"].is_null(), "{version}: {manifest}");
        assert!(manifest["pause_ms"].as_f64().unwrap() > 0.0, "{version}");
        // The sheet, its diagnosis and report, and no file that could be a dump or was only for the walk.
        for entry in std::fs::read_dir(&bundle).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(
                !name.starts_with('.') && name != MINIDUMP_FILE,
                "{version}: {name}"
            );
            assert!(
                entry.metadata().unwrap().len() < 4 << 20,
                "{version}: {name}"
            );
        }
        // The sheet alone is judged again, on the other system.
        let again = on_linux(&["triage", &bundle.display().to_string(), "--format", "json"]);
        assert_eq!(
            diagnosis(&again)["findings"][0]["culprit"],
            first["culprit"]
        );
    }
}

#[test]
fn a_target_runs_on_when_the_collector_is_killed_while_it_stands_still() {
    let program = windows_program::get().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = windows::get(Version::Net8).unwrap();
    let app = targets::app("finalizer-backlog").unwrap();
    let mut service = root.launch(&app).start().unwrap();
    // So slow that it cannot be done before it is killed.
    let config = configuration(folder.path(), "bandwidth = \"100 KB\"\n");
    let mut capture = program
        .command()
        .args(["--log", "info", "capture"])
        .arg(service.own_pid().unwrap().to_string())
        .args(["--no-triage", "--config", &config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It writes only while the target stands still.
    let deadline = Instant::now() + PATIENCE;
    let is_writing = || {
        let mut folders = vec![folder.path().join("archive")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with(MINIDUMP_FILE) {
                    return entry.metadata().is_ok_and(|meta| meta.len() > 0);
                }
            }
        }
        false
    };
    while !is_writing() {
        if let Some(status) = capture.try_wait().unwrap() {
            let mut err = String::new();
            capture
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut err)
                .unwrap();
            panic!("the capture ended: {status}: {err}");
        }
        assert!(Instant::now() < deadline, "the capture does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    capture.kill().unwrap();
    capture.wait().unwrap();
    service.send("report").unwrap();
}

/// Takes one message and answers that it has it.
fn receive(listener: &TcpListener) -> Value {
    let deadline = Instant::now() + PATIENCE;
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = loop {
        match listener.accept() {
            Ok(accepted) => break accepted,
            Err(_) => {
                assert!(Instant::now() < deadline, "nothing is delivered");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn the_agent_on_windows_notices_captures_diagnoses_and_delivers() {
    let program = windows_program::get().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = windows::get(Version::Net8).unwrap();
    let target = targets::get("finalizer-backlog").unwrap();
    let app = target.app(&mut |_| {}).unwrap();
    let mut service = root.launch(&app).start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let archive = folder.path().join("archive");
    let more = format!(
        r#"[[service]]
name = "Shop.Orders"
pid = {}
every = "1 s"
limit = "1 per day"
notify = ["hook"]
  [[service.trigger]]
  name = "too much"
  when = "rss > 20 MB and managed.gen2 > 1 KB and threads > 1"
[[notify]]
name = "hook"
webhook = {{ url = {{ env = "HOOK_URL" }}, secret = {{ env = "HOOK_SECRET" }} }}
"#,
        service.own_pid().unwrap(),
    );
    let config = configuration(folder.path(), &more);
    let mut agent = program
        .command()
        .args(["run", "--config", &config])
        .env("HOOK_URL", format!("http://127.0.0.1:{port}/hook"))
        .env("HOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let message = std::panic::catch_unwind(|| receive(&listener));
    let _ = agent.kill();
    let _ = agent.wait();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let message = message.unwrap_or_else(|_| panic!("{log}"));
    let first = &message["data"]["diagnosis"]["findings"][0];
    let culprit = target.card.expect.culprit.clone().unwrap();
    assert!(
        first["culprit"].as_str().unwrap().contains(&culprit),
        "{message}\n{log}"
    );
    service.send("report").unwrap();

    let bundle = only_bundle(&archive);
    let again = on_linux(&["triage", &bundle.display().to_string(), "--format", "json"]);
    let again = diagnosis(&again);
    assert_eq!(again["findings"][0]["culprit"], first["culprit"], "{log}");
    assert_eq!(
        again["findings"][0]["explained_bytes"],
        first["explained_bytes"]
    );
}

#[test]
fn the_service_is_installed_started_stopped_and_removed() {
    let program = windows_program::get().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let service = |words: &[&str]| {
        let output = on_windows(&program, &[&["service"], words].concat());
        (output.status.code(), said(&output))
    };
    // What an earlier run that was killed may have left.
    service(&["stop"]);
    service(&["uninstall"]);

    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "[archive]\nlocatoin = 'x'\n").unwrap();
    let (code, text) = service(&["install", "--config", &WindowsProgram::path(&bad)]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = service(&["start"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("is it installed"), "{text}");

    let config = configuration(folder.path(), "");
    let (code, text) = service(&["install", "--config", &config]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = service(&["start"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Running"), "{text}");
    // The agent has opened its archive.
    assert!(folder.path().join("archive").join("state.db").is_file());
    let (code, text) = service(&["stop"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Stopped"), "{text}");
    let (code, text) = service(&["uninstall"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = service(&["start"]);
    assert_eq!(code, Some(3), "{text}");
}
