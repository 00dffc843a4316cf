//! PowerShell and Bicep, for which there is no interpreter here: at least they are PowerShell and Bicep.

use crate::{files, leakhound, root, text};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The parser that GitHub and editors use, and its grammars.
const PACKAGES: [&str; 3] = [
    "tree-sitter==0.26.1",
    "tree-sitter-powershell==0.26.4",
    "tree-sitter-bicep==1.1.0",
];

fn parsed(scripts: &[PathBuf]) -> Output {
    let programs = leakhound_testbed::python::programs(&PACKAGES).unwrap();
    Command::new(programs.join("python"))
        .arg(root().join("tests/service_fabric/parse.py"))
        .args(scripts)
        .output()
        .unwrap()
}

/// Those below a folder that the grammars are for.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let is_script = |file: &PathBuf| {
        file.extension()
            .is_some_and(|ending| ending == "ps1" || ending == "bicep")
    };
    let all = files(folder).into_iter().filter(is_script);
    all.map(|file| folder.join(file)).collect()
}

#[test]
fn what_is_shipped_and_what_is_written_for_a_cluster_parses() {
    let folder = tempfile::tempdir().unwrap();
    let output = leakhound()
        .args(["deploy", "service-fabric", "--out"])
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let mut all = scripts(&root().join("deploy"));
    let shipped = all.len();
    all.extend(scripts(folder.path()));
    assert!(shipped >= 3 && all.len() >= shipped + 2, "{all:?}");
    let output = parsed(&all);
    assert!(output.status.success(), "{}", text(&output));
}

/// A script without the first brace that opens a block of lines.
fn without_a_brace(script: &str) -> String {
    let (before, after) = script.split_once(" {\n").unwrap();
    format!("{before}\n{after}")
}

#[test]
fn what_lacks_a_brace_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for script in scripts(&root().join("deploy")) {
        let broken = folder.path().join(script.file_name().unwrap());
        let source = std::fs::read_to_string(&script).unwrap();
        std::fs::write(&broken, without_a_brace(&source)).unwrap();
        let output = parsed(std::slice::from_ref(&broken));
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{}:", broken.display())), "{said}");
    }
}
