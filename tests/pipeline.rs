//! The main job, end to end: a real service leaks, the agent notices, captures, diagnoses, and the message arrives.

use std::path::Path;
use std::process::{Command, Output};

fn leakhound(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(arguments)
        .output()
        .expect("the built program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_watches_captures_diagnoses_and_delivers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("demo").display().to_string();
    let output = leakhound(&["demo", "--folder", &place]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let log = std::fs::read_to_string(Path::new(&place).join("agent.log")).unwrap_or_default();
    assert!(output.status.success(), "{err}\n{out}\n{log}");
    assert!(
        !err.contains("none can be had here"),
        "the live demo needs a .NET runtime, and it could not be fetched: {err}"
    );
    assert!(out.contains("Shop.Pricing.QuoteCache.Quotes"), "{out}");
    assert!(out.contains("static-root-growth"), "{out}");

    let inbox = Path::new(&place).join("inbox");
    let letters: Vec<serde_json::Value> = std::fs::read_dir(&inbox)
        .expect("the inbox is there")
        .filter_map(|e| std::fs::read(e.ok()?.path()).ok())
        .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
        .collect();
    assert!(letters.len() >= 2, "{} letters", letters.len());
    for letter in &letters {
        let first = &letter["data"]["diagnosis"]["findings"][0];
        assert_eq!(first["culprit"], "Shop.Pricing.QuoteCache.Quotes");
    }

    // What the agent left behind is whole, and can be judged again.
    let archive = Path::new(&place).join("archive").display().to_string();
    let verified = leakhound(&["archive", "--archive", &archive, "verify"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        text(&verified.stdout)
    );
    assert!(text(&verified.stdout).contains(" 0 damaged"));
    let listed = leakhound(&["archive", "--archive", &archive, "list"]);
    assert!(text(&listed.stdout).contains("Shop.Pricing/"));
    let again = leakhound(&["rerun", "--archive", &archive]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stdout));
    assert!(
        text(&again.stdout).contains(" 0 changed")
            && text(&again.stdout).contains(" 0 could not be judged"),
        "the same rules say the same: {}",
        text(&again.stdout)
    );
    // Rules of one's own change the verdict, without the dumps.
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).expect("a folder for rules");
    std::fs::write(
        rules.join("any.toml"),
        "id = \"any-heap\"\ncategory = \"gc-settings\"\nrole = \"cause\"\ntitle = \"There is a heap\"\n\
         when = \"heap.live > 1 MB\"\nculprit = \"the heap\"\nmessage = \"{heap.live} live\"\nadvice = [\"Look\"]\n",
    )
    .expect("the rule is written");
    let rules = rules.display().to_string();
    let with_own = leakhound(&["rerun", "--archive", &archive, "--rules", &rules]);
    assert!(
        text(&with_own.stdout).contains("any-heap"),
        "{}",
        text(&with_own.stdout)
    );
    assert!(!text(&with_own.stdout).contains(" 0 changed"));
}

#[test]
fn the_demo_works_without_a_network() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("demo").display().to_string();
    let output = leakhound(&["demo", "--offline", "--folder", &place]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.contains("Shop.Pricing.QuoteCache.Quotes"), "{out}");
    assert!(Path::new(&place).join("report.html").is_file());
}
