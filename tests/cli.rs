//! The command as users meet it: exit codes, and errors that say what is wrong and what to do.

use std::path::Path;
use std::process::{Command, Output};

fn leakhound(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .output()
        .expect("the built program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("the test's folder is writable");
    path.display().to_string()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

const REAL_DUMP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/shop-pricing.core.zst"
);

#[test]
fn a_real_dump_is_diagnosed_and_the_json_keeps_the_contract() {
    let output = leakhound(&["triage", REAL_DUMP, "--modules", "none", "--format", "json"]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let json: serde_json::Value = serde_json::from_str(&out(&output)).expect("the output is JSON");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["verdict"], "leak");
    assert_eq!(json["runtime"]["version"], "8.0.32");
    let first = &json["findings"][0];
    assert_eq!(first["rank"], 1);
    assert_eq!(first["category"], "static-root");
    assert_eq!(first["culprit"], "Shop.Pricing.QuoteCache.Quotes");
    assert_eq!(first["path"][0], "static Shop.Pricing.QuoteCache.Quotes");
    assert!(first["explained_bytes"].as_u64() > Some(50_000_000));
    for key in [
        "severity",
        "confidence",
        "title",
        "share_of_commit",
        "evidence",
        "advice",
        "verify",
        "fingerprint",
    ] {
        assert!(!first[key].is_null(), "{key} is missing");
    }
    let evidence = &first["evidence"][0];
    for key in ["fact", "value", "unit", "text"] {
        assert!(!evidence[key].is_null(), "evidence has no {key}");
    }
    let account = &json["memory"];
    let parts = [
        "gc",
        "images",
        "stacks",
        "runtime",
        "native",
        "mapped_files",
        "unattributed",
    ];
    let sum: u64 = parts.iter().filter_map(|p| account[*p].as_u64()).sum();
    assert_eq!(
        account["commit"].as_u64(),
        Some(sum),
        "the byte account adds up"
    );
}

#[test]
fn every_format_is_written_and_html_loads_nothing() {
    let folder = folder();
    for format in ["text", "md", "html"] {
        let file = folder.path().join(format);
        let path = file.display().to_string();
        let output = leakhound(&[
            "triage",
            REAL_DUMP,
            "--modules",
            "none",
            "--format",
            format,
            "-o",
            &path,
        ]);
        assert_eq!(code(&output), 1, "{format}: {}", err(&output));
        let text = std::fs::read_to_string(&file).expect("the report is there");
        assert!(text.contains("Shop.Pricing.QuoteCache.Quotes"), "{format}");
        assert!(!text.contains("<script"), "{format}");
    }
}

#[test]
fn a_sheet_is_judged_without_its_dump() {
    let folder = folder();
    let sheet = folder.path().join("facts.json").display().to_string();
    let walked = leakhound(&[
        "triage",
        REAL_DUMP,
        "--modules",
        "none",
        "--sheet",
        &sheet,
        "--format",
        "json",
    ]);
    let judged = leakhound(&["triage", &sheet, "--format", "json"]);
    assert_eq!(code(&judged), 1, "{}", err(&judged));
    assert_eq!(out(&walked), out(&judged));
}

/// The real sheet as it would be at another time, with so much more in the static cache.
fn sheet_at(folder: &Path, real: &serde_json::Value, minute: i64, megabytes: i64) -> String {
    let mut sheet = real.clone();
    sheet["subject"]["captured_at_ms"] = (1_790_000_000_000 + minute * 60_000).into();
    for (fact, more) in [("heap.live", 10), ("memory.commit", 60)] {
        sheet["facts"][fact] = ((megabytes + more) * 1_000_000).into();
    }
    let statics = sheet["lists"]["statics"].as_array_mut().expect("a list");
    assert_eq!(statics[0]["field"], "Shop.Pricing.QuoteCache.Quotes");
    for column in ["retained", "owned"] {
        if statics[0][column].is_number() {
            statics[0][column] = (megabytes * 1_000_000).into();
        }
    }
    let name = format!("at-{minute}-{megabytes}.json");
    write(folder, &name, sheet.to_string().as_bytes())
}

#[test]
fn growth_is_told_from_sheets_alone_with_its_rate_and_how_sure_that_is() {
    let folder = folder();
    let saved = folder.path().join("sheet.json").display().to_string();
    leakhound(&["triage", REAL_DUMP, "--modules", "none", "--sheet", &saved]);
    let real = std::fs::read(&saved).expect("the sheet was saved");
    let real = serde_json::from_slice(&real).expect("it is JSON");
    let at = |minute, megabytes| sheet_at(folder.path(), &real, minute, megabytes);
    let captures = [at(0, 200), at(10, 236), at(20, 284), at(30, 320)];
    let triage = |format: &str, captures: &[String]| {
        let mut arguments = vec!["triage", captures[captures.len() - 1].as_str()];
        arguments.extend(["--format", format, "--baseline"]);
        arguments.extend(captures[..captures.len() - 1].iter().map(String::as_str));
        leakhound(&arguments)
    };
    // The order in which baselines are given does not matter.
    let mixed = [1, 0, 2, 3].map(|i: usize| captures[i].clone());
    let output = triage("json", &mixed);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let json: serde_json::Value = serde_json::from_str(&out(&output)).expect("the output is JSON");
    let growth =
        "36 MB more than in the last capture 10 min earlier, 245 MB/h ± 10.2 MB/h over 4 captures";
    let headline = json["headline"].as_str().unwrap_or_default();
    assert!(headline.ends_with(growth), "{headline}");
    assert_eq!(json["findings"][0]["rule"], "static-root-growth");
    assert_eq!(json["facts"]["growth.managed_rate_error"], 10_182_338.0);
    assert_eq!(json["facts"]["growing_statics"][0]["steps"], 3);
    for format in ["text", "html", "md"] {
        let page = out(&triage(format, &captures));
        let words: Vec<&str> = page.split_whitespace().collect();
        let page = words.join(" ").replace("&#x2f;", "/");
        assert!(page.contains(growth), "{format}: {page}");
        let line =
            "live managed memory +36 MB, native memory +0 B since the last capture 10 min earlier";
        assert!(page.contains(line), "{format}: {page}");
    }

    let two = out(&triage("json", &captures[2..]));
    assert!(
        two.contains("216 MB/h (two captures do not tell how sure that is)"),
        "{two}"
    );

    // The same size in every capture is no leak, however large.
    let flat = [at(0, 320), at(200, 320), at(400, 320)];
    let output = triage("json", &flat);
    assert_eq!(code(&output), 0, "{}", out(&output));
    let json: serde_json::Value = serde_json::from_str(&out(&output)).expect("the output is JSON");
    assert_eq!(json["verdict"], "healthy");
    assert_eq!(json["findings"][0]["severity"], "info");

    let swapped = triage("json", &[captures[3].clone(), captures[0].clone()]);
    assert!(
        err(&swapped).contains("were they swapped?"),
        "{}",
        err(&swapped)
    );
}

#[test]
fn what_is_no_dump_is_refused_with_a_sentence() {
    let folder = folder();
    let real = std::fs::read(REAL_DUMP).expect("the fixture is there");
    let random: Vec<u8> = (0..200_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for (name, content) in [
        ("empty", &b""[..]),
        ("random", &random),
        ("page.html", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("cut.zst", &real[..real.len() / 2]),
        (
            "elf",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\xff\xff\xff\xff",
        ),
        ("sheet.json", b"{\"schema\": 99}"),
    ] {
        let path = write(folder.path(), name, content);
        let output = leakhound(&["triage", &path]);
        assert_eq!(code(&output), 3, "{name}: {}", err(&output));
        let said = err(&output);
        assert!(
            said.starts_with("error: ") && said.len() > 30,
            "{name}: {said}"
        );
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
    let gone = leakhound(&["triage", "/does/not/exist"]);
    assert_eq!(code(&gone), 3);
    assert!(err(&gone).contains("/does/not/exist"));
}

#[test]
fn a_configuration_error_says_where_and_what_was_meant() {
    let folder = folder();
    for (text, expected) in [
        (
            "[[service]]\nname = \"a\"\ncooldwon = \"1 h\"\n",
            "cooldown",
        ),
        (
            "[[service]]\nname = \"a\"\n[[service.trigger]]\nname = \"t\"\nwhen = \"private_bytes > 30 s\"\n",
            "private_bytes",
        ),
        (
            "[[service]]\nname = \"a\"\n[[service.trigger]]\nname = \"t\"\nwhen = \"privat_bytes > 1 GB\"\n",
            "private_bytes",
        ),
        (
            "[[service]]\nname = \"a\"\nevery = \"5 parsecs\"\n",
            "5 parsecs",
        ),
        (
            "[[service]]\nname = \"a\"\nnotify = [\"nobody\"]\n",
            "nobody",
        ),
        ("[triage]\nmemory = \"1 KB\"\n", "memory"),
    ] {
        let path = write(folder.path(), "leakhound.toml", text.as_bytes());
        let output = leakhound(&["run", "--check", "--config", &path]);
        assert_eq!(code(&output), 2, "{text}: {}", err(&output));
        let said = err(&output);
        assert!(said.contains(expected), "{text}: {said}");
        assert!(said.contains("leakhound.toml"), "{text}: {said}");
    }
}

#[test]
fn destinations_are_tried_and_what_waits_is_listed() {
    let folder = folder();
    let text = format!(
        "[archive]\nlocation = {:?}\n[[notify]]\nname = \"hook\"\nlimit = \"10 per hour\"\n\
         webhook = {{ url = \"http://127.0.0.1:1/\", secret = \"0123456789abcdef0\" }}\n",
        folder.path().join("archive")
    );
    let path = write(folder.path(), "leakhound.toml", text.as_bytes());
    let output = leakhound(&["notify", "--config", &path, "test", "hok"]);
    assert_eq!(code(&output), 2, "{}", err(&output));
    let said = err(&output);
    assert!(said.contains("did you mean `hook`?"), "{said}");
    let output = leakhound(&["notify", "--config", &path, "test", "hook"]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let said = out(&output);
    assert!(said.contains("cannot reach http://127.0.0.1:1"), "{said}");
    let output = leakhound(&["notify", "--config", &path, "outbox", "--state", "dead"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), "No message.\n");
}

#[test]
fn the_reference_configuration_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config/leakhound.toml");
    let output = leakhound(&["run", "--check", "--config", path]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("is valid"));
}

#[test]
fn a_rule_that_names_no_fact_is_refused_with_a_caret() {
    let folder = folder();
    let rule = "id = \"mine\"\ncategory = \"loh-fragmentation\"\nrole = \"cause\"\ntitle = \"t\"\n\
                when = \"loh.fre > 30% of loh.committed\"\nmessage = \"m\"\nadvice = [\"a\"]\n";
    write(folder.path(), "mine.toml", rule.as_bytes());
    let path = folder.path().display().to_string();
    for arguments in [
        &["rules", "check", &path][..],
        &["triage", REAL_DUMP, "--rules", &path],
    ] {
        let output = leakhound(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        let said = err(&output) + &out(&output);
        assert!(said.contains("loh.free") && said.contains('^'), "{said}");
        assert!(said.contains("mine.toml:5"), "{said}");
    }
}

#[test]
fn rules_are_listed_explained_and_pass_their_own_tests() {
    let listed = leakhound(&["rules", "list", "--json"]);
    let rules: serde_json::Value = serde_json::from_str(&out(&listed)).expect("JSON");
    for id in [
        "finalizer-backlog",
        "loh-fragmentation",
        "pinned-handles",
        "static-root-growth",
    ] {
        assert!(
            rules
                .as_array()
                .is_some_and(|all| all.iter().any(|r| r["id"] == id)),
            "{id}"
        );
    }
    let explained = leakhound(&["rules", "explain", "loh-fragmentation"]);
    assert!(out(&explained).contains("loh.free"));
    assert_eq!(code(&leakhound(&["rules", "test"])), 0);
    let unknown = leakhound(&["rules", "explain", "loh-fragmentatoin"]);
    assert_eq!(code(&unknown), 2);
    assert!(err(&unknown).contains("loh-fragmentation"));
    let facts = out(&leakhound(&["rules", "facts"]));
    assert!(facts.contains("loh.largest_free") && facts.contains("limit_share"));
}

#[test]
fn doctor_answers_without_a_configuration() {
    let output = leakhound(&["doctor", "--json", "--config", "/nowhere/leakhound.toml"]);
    let lines: Vec<serde_json::Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    for wanted in ["configuration", "destination", "archive"] {
        assert!(
            lines.iter().any(|l| l["check"] == wanted),
            "{wanted}: {lines:?}"
        );
    }
}
