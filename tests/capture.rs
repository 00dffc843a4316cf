//! `leakhound capture` as an operator uses it: kinds, the options of ProcDump, waiting, and an end at once.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Service, Version, runtimes, targets};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The built program, as if it were alone on its node: captures of other tests do not hold it up.
fn program() -> Command {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let name = format!("run-{}-{call}", std::process::id());
    let mut program = Command::new(env!("CARGO_BIN_EXE_leakhound"));
    program.env(
        "RUNTIME_DIRECTORY",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
    );
    program
}

fn leakhound(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn start(name: &str) -> Service {
    let root = runtimes::get(Version::Net8).unwrap();
    targets::app(name).unwrap().on(&root).start().unwrap()
}

/// The bundles in an archive, the oldest first.
fn bundles(archive: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let folders = entries.map(|e| e.path()).filter(|p| p.is_dir());
        folders.collect()
    };
    let services = folders(archive);
    let mut all: Vec<PathBuf> = services.iter().flat_map(|s| folders(s)).collect();
    all.retain(|b| b.join("capture.json").is_file());
    all.sort_by_key(|b| b.file_name().map(ToOwned::to_owned));
    all
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// It runs, nobody traces it, and no copy of it is left.
fn is_free(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let children = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|t| fs::read_to_string(t.unwrap().path().join("children")).unwrap_or_default());
    status.contains("TracerPid:\t0\n") && children.into_iter().all(|c| c.trim().is_empty())
}

#[test]
fn facts_are_a_bundle_without_a_dump_that_says_the_same() {
    let service = start("static-root");
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path();
    let out = archive.display().to_string();
    let pid = service.pid().to_string();
    let capture = |kind: &str| {
        let output = leakhound(&[
            "capture", &pid, "--kind", kind, "--out", &out, "--format", "json",
        ]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let facts = capture("facts");
    assert!(is_free(service.pid()));
    let bundle = bundles(archive).remove(0);
    let files = [
        "capture.json",
        "diagnosis.json",
        "facts.json.zst",
        "report.html",
    ];
    assert_eq!(names(&bundle), files.map(str::to_owned).into());
    let manifest = json(&bundle.join("capture.json"));
    assert_eq!(
        (&manifest["kind"], &manifest["method"], &manifest["dump"]),
        (&"facts".into(), &"snapshot".into(), &Value::Null)
    );
    assert!(manifest["pause_ms"].as_f64().unwrap() > 0.0);
    assert!(manifest["memory_map"].as_array().unwrap().len() > 50);
    assert_eq!(manifest["warnings"], Value::Array(Vec::new()));

    // A dump of the same process a moment later gives the same answer.
    let heap = capture("heap");
    let said = |d: &Value| {
        let first = &d["findings"][0];
        (
            d["verdict"].clone(),
            first["rule"].clone(),
            first["culprit"].clone(),
        )
    };
    assert_eq!(
        facts["findings"][0]["culprit"],
        "Shop.Pricing.QuoteCache.Quotes"
    );
    assert_eq!(said(&facts), said(&heap));
    for fact in [
        "heap.live",
        "heap.objects",
        "heap.committed",
        "memory.commit",
    ] {
        let of = |d: &Value| {
            d["facts"][fact]
                .as_f64()
                .unwrap_or_else(|| panic!("no {fact}"))
        };
        let (a, b) = (of(&facts), of(&heap));
        assert!((a - b).abs() <= 0.1 * b, "{fact}: {a} {b}");
    }
    // Stacks are roots in both: the registers of the service's threads reach the parser without a dump.
    assert_eq!(
        facts["completeness"]["problems"],
        heap["completeness"]["problems"]
    );

    // What the configuration has for this service counts.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = elsewhere.path().join("leakhound.toml");
    let of_service = "[[service]]\nname = \"Shop.Pricing\"\nprocess = \"Shop.Pricing\"\n[service.rules.static-root]\n\
                      floor = \"100 TB\"\nsmall = \"100 TB\"\n";
    fs::write(&config, of_service).unwrap();
    let config = config.display().to_string();
    let other = elsewhere.path().join("archive").display().to_string();
    let lenient = leakhound(&[
        "capture", &pid, "--kind", "facts", "--out", &other, "--format", "json", "--config",
        &config,
    ]);
    let lenient: Value = serde_json::from_slice(&lenient.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&lenient.stderr)));
    let rules = |d: &Value| -> Vec<String> {
        let findings = d["findings"].as_array().unwrap().iter();
        findings.map(|f| f["rule"].to_string()).collect()
    };
    let root = "\"static-root\"".to_owned();
    assert!(rules(&heap).contains(&root), "{:?}", rules(&heap));
    assert!(!rules(&lenient).contains(&root), "{:?}", rules(&lenient));

    // Everything else copes with a bundle that never had a dump.
    let key = format!(
        "{}/{}",
        bundle.parent().unwrap().file_name().unwrap().display(),
        bundle.file_name().unwrap().display()
    );
    let run = |arguments: &[&str], code: i32| {
        let output = leakhound(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    let list = run(&["archive", "--archive", &out, "list"], 0);
    assert!(list.contains(&key) && list.contains("QuoteCache"), "{list}");
    let show = run(&["archive", "--archive", &out, "show", &key], 0);
    assert!(show.contains("facts by snapshot"), "{show}");
    let verify = run(&["archive", "--archive", &out, "verify"], 0);
    assert!(verify.contains("2 checked, 0 damaged"), "{verify}");
    let rerun = run(&["rerun", "--archive", &out], 0);
    assert!(rerun.contains(" 0 could not be judged"), "{rerun}");
    let again = run(&["triage", bundle.to_str().unwrap()], 1);
    assert!(again.contains("QuoteCache"), "{again}");
}

/// A process that holds this many MiB that do not compress, and as many more for each line that it is sent.
struct Holder(std::process::Child);

impl Holder {
    fn start(mib: usize) -> Self {
        let program = format!(
            "import os,sys\nkeep=[os.urandom(1<<20) for _ in range({mib})]\nprint('up',flush=True)\n\
             for line in sys.stdin:\n    keep += [os.urandom(1<<20) for _ in range({mib})]\n"
        );
        Self::python(&program)
    }

    fn python(program: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a condition, a minute at most.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A configuration whose archive is the folder `archive` beside it.
fn configured(folder: &Path, capture: &str) -> String {
    let path = folder.join("leakhound.toml");
    let archive = folder.join("archive");
    let text = format!("[archive]\nlocation = {archive:?}\n[capture]\n{capture}\n");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_signal_ends_a_capture_at_once_and_lets_the_process_go() {
    let holder = Holder::start(48);
    let pid = holder.pid();
    let folder = tempfile::tempdir().unwrap();
    // So slow that only a signal ends it.
    let config = configured(
        folder.path(),
        "reserve = \"1 MB\"\nbandwidth = \"200 KB\"\nmax_pause = \"10 min\"",
    );
    let cases = [
        ("snapshot", libc::SIGTERM),
        ("stop-and-stream", libc::SIGINT),
        ("stop-and-stream", libc::SIGTERM),
    ];
    for (method, signal) in cases {
        let child = program()
            .args([
                "capture",
                &pid.to_string(),
                "--method",
                method,
                "--no-triage",
                "--config",
                &config,
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("the capture never began", || !is_free(pid));
        // Well into it.
        std::thread::sleep(Duration::from_millis(300));
        assert!(!is_free(pid), "{method}");
        // SAFETY: the child is ours and not yet reaped.
        unsafe { libc::kill(child.id().cast_signed(), signal) };
        let asked = Instant::now();
        let output = child.wait_with_output().unwrap();
        let took = asked.elapsed();
        assert!(is_free(pid), "{method}");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("was cancelled"), "{said}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        assert_eq!(bundles(&folder.path().join("archive")), [] as [PathBuf; 0]);
    }
}

/// The runtime's own createdump holds the process, not Leakhound.
#[test]
fn a_signal_ends_the_runtimes_own_dump_too() {
    let mut service = start("static-root");
    let pid = service.pid();
    let folder = tempfile::tempdir().unwrap();
    let child = program()
        .args([
            "capture",
            &pid.to_string(),
            "--method",
            "runtime",
            "--no-triage",
            "--out",
        ])
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the runtime was never asked", || !is_free(pid));
    // SAFETY: the child is ours and not yet reaped.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("was cancelled"), "{said}");
    wait_until("createdump is still there", || is_free(pid));
    assert_eq!(bundles(folder.path()), [] as [PathBuf; 0]);
    service.send("grow 1").unwrap();
}

#[test]
fn a_capture_that_takes_too_long_is_given_up() {
    let holder = Holder::start(48);
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "reserve = \"1 MB\"\nbandwidth = \"200 KB\"");
    let pid = holder.pid().to_string();
    let output = leakhound(&[
        "capture",
        "-at",
        "1",
        &pid,
        "--no-triage",
        "--config",
        &config,
    ]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("given up after 1000 ms (capture.max_time)"),
        "{said}"
    );
    assert!(is_free(holder.pid()));
    assert_eq!(bundles(&folder.path().join("archive")), [] as [PathBuf; 0]);
}

#[test]
fn without_room_for_a_dump_the_facts_are_taken_or_nothing_as_configured() {
    let service = start("static-root");
    let pid = service.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "reserve = \"100%\"");
    let output = leakhound(&["capture", &pid, "--config", &config]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("capture.reserve")
            && said.contains("of kind `facts` was taken instead of `heap`"),
        "{said}"
    );
    let archive = folder.path().join("archive");
    let bundle = bundles(&archive).remove(0);
    assert_eq!(json(&bundle.join("capture.json"))["kind"], "facts");

    let config = configured(folder.path(), "reserve = \"100%\"\nstep_down = false");
    let output = leakhound(&["capture", &pid, "--config", &config]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(bundles(&archive).len(), 1);
}

#[test]
fn the_cost_is_told_before_the_first_byte_and_kept_with_the_capture() {
    let holder = Holder::start(64);
    let pid = holder.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let output = leakhound(&["capture", &pid, "--predict", "--out", &out]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for words in [
        "by snapshot",
        "stands still for about",
        "on the disk, at most",
        "exists twice",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(bundles(folder.path()), [] as [PathBuf; 0]);

    let output = leakhound(&["capture", &pid, "--out", &out, "--no-triage"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let manifest = json(&bundles(folder.path())[0].join("capture.json"));
    let predicted = &manifest["predicted"];
    let memory = predicted["memory_bytes"].as_u64().unwrap();
    let raw = manifest["dump"]["raw_bytes"].as_u64().unwrap();
    assert!((64 << 20..2 * raw).contains(&memory), "{memory} {raw}");
    assert!(predicted["pause_ms"].as_f64().unwrap() >= 15.0);
    assert!(predicted["copy_bytes"].as_u64().unwrap() > 0);

    // A pause that is not allowed is refused with its figures.
    let config = configured(folder.path(), "max_pause = \"1 ms\"");
    let output = leakhound(&["capture", &pid, "--config", &config]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("capture.max_pause is 1 ms"), "{said}");
}

#[test]
fn procdump_steps_wait_for_a_name_and_write_named_files() {
    let folder = tempfile::tempdir().unwrap();
    // A name (`comm`) that no other process has.
    let name = format!("holder{}", std::process::id());
    let script = "import ctypes,os,sys\nctypes.CDLL(None).prctl(15, NAME, 0, 0, 0)\nkeep=[]\nprint('up',flush=True)\n\
                  for line in sys.stdin:\n    keep += [os.urandom(1<<20) for _ in range(int(line))]\n";
    let script = script.replace("NAME", &format!("b'{name}'"));
    let pattern = folder.path().join("PROCESSNAME_PID_YYMMDD_HHMMSS.dmp");
    let log = folder.path().join("log");
    let mut capture = program()
        .args([
            "capture",
            "-mp",
            "-m",
            "60,120",
            "-s",
            "0",
            "-pf",
            "100",
            "-w",
            "--no-triage",
        ])
        .arg(&name)
        .arg(&pattern)
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("it never waited", || {
        said().contains("waiting for a process called")
    });
    let mut holder = Holder::python(&script);
    let pid = holder.pid();
    wait_until("it never watched", || said().contains(&format!("({pid})")));
    let dumps = || {
        let names = names(folder.path()).into_iter();
        names
            .filter(|n| n.ends_with(".dmp.zst"))
            .collect::<Vec<_>>()
    };
    let mut add = |mib: usize| writeln!(holder.0.stdin.as_mut().unwrap(), "{mib}").unwrap();
    add(70);
    wait_until("the first step was not captured", || dumps().len() == 1);
    // The next step is further up.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(dumps().len(), 1, "{}", said());
    add(70);
    let status = capture.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", said());
    let dumps = dumps();
    assert_eq!(dumps.len(), 2, "{dumps:?}");
    assert!(
        dumps[0].starts_with("python") && dumps[0].contains(&format!("_{pid}_")),
        "{dumps:?}"
    );
    let found = bundles(folder.path());
    assert_eq!(found.len(), 2);
    for (bundle, step) in found.iter().zip(["60 MiB", "120 MiB"]) {
        let manifest = json(&bundle.join("capture.json"));
        let trigger = &manifest["trigger"];
        assert_eq!(trigger["when"], format!("rss + swap >= {step}"));
        assert_eq!(
            (&trigger["by"], &manifest["kind"]),
            (&"operator".into(), &"heap".into())
        );
        assert!(
            trigger["evidence"].to_string().contains("rss = "),
            "{trigger}"
        );
    }
    // One file with two names.
    let named = fs::metadata(folder.path().join(&dumps[0])).unwrap();
    let inside = fs::metadata(found[0].join("memory.core.zst")).unwrap();
    assert_eq!(named.ino(), inside.ino());
}

#[test]
fn an_existing_file_is_replaced_only_when_asked_for_and_options_are_explained() {
    let holder = Holder::start(1);
    let pid = holder.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cart.dmp.zst");
    fs::write(&file, "old").unwrap();
    let path = file.display().to_string();
    let output = leakhound(&["capture", "-ma", &pid, &path, "--no-triage"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("-o (--overwrite) replaces it"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), b"old");
    let output = leakhound(&["capture", "-ma", "-o", &pid, &path, "--no-triage"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read(&file).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    let manifest = json(&bundles(folder.path())[0].join("capture.json"));
    assert_eq!(manifest["kind"], "full");

    for (arguments, expected) in [
        (&["-mm"][..], "--kind facts"),
        (&["-e"], "DOTNET_DbgEnableMiniDump"),
        (&["-zz"], "has no option -zz"),
        (&["-m", "heap"], "a whole number was expected"),
        (&["--when", "heap.live > 1 GB"], "only be read from a dump"),
        (&["--when", "rss > 5 s"], "^"),
        (&["--file", "../x"], "--out names the folder"),
    ] {
        let mut all = vec!["capture", &pid, "--out", folder.path().to_str().unwrap()];
        all.splice(1..1, arguments.iter().copied());
        let output = leakhound(&all);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    let help = text(&leakhound(&["capture", "--help"]).stdout);
    for option in [
        "-ma", "-mp", "-m N", "-ml N", "-c N", "-cl N", "-s N", "-n N", "-w ", "-o ",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
}

#[test]
fn captures_without_a_condition_are_taken_apart_and_the_end_of_the_process_ends_the_wait() {
    let holder = Holder::start(1);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let pid = holder.pid().to_string();
    let started = Instant::now();
    let output = leakhound(&["capture", "-n", "2", "-s", "1", &pid, &out, "--no-triage"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(bundles(folder.path()).len(), 2);

    let capture = program()
        .args(["capture", "-m", "4000", &pid, &out])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(holder);
    let output = capture.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("ended before the condition held"), "{said}");
}
