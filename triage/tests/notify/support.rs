//! Real counterparts from the package registries, fetched with the registries' own clients and cached under the target
//! folder. What cannot be fetched fails the test with a sentence; nothing passes silently.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where fetched things live: beside cargo's own folder for tests, so that `cargo clean` removes them.
fn cache() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("leakhound-tests")
}

/// Prepares a folder once, whichever test comes first and however many run at once.
fn prepared(name: &str, what: &str, prepare: impl FnOnce(&Path) -> Result<(), String>) -> PathBuf {
    let folder = cache().join(name);
    std::fs::create_dir_all(cache()).unwrap();
    let lock = File::create(cache().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let done = folder.join(".done");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        if let Err(why) = prepare(&folder) {
            panic!("{what} could not be fetched, and this test needs it: {why}");
        }
        File::create(done).unwrap();
    }
    folder
}

/// The Python of a virtual environment with these packages, pinned as `name==version`.
pub fn python(name: &str, packages: &[&str]) -> PathBuf {
    let folder = prepared(
        name,
        &format!("PyPI package {}", packages.join(", ")),
        |folder| {
            run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
            let pip = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
            ];
            run(Command::new(folder.join("bin/python"))
                .args(pip)
                .args(packages))
            .map(drop)
        },
    );
    folder.join("bin/python")
}

/// A folder whose node_modules holds these packages, pinned as `name@version`.
pub fn npm(name: &str, packages: &[&str]) -> PathBuf {
    prepared(
        name,
        &format!("npm package {}", packages.join(", ")),
        |folder| {
            let args = [
                "install",
                "--silent",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefix",
                ".",
            ];
            run(Command::new("npm")
                .args(args)
                .args(packages)
                .current_dir(folder))
            .map(drop)
        },
    )
}

/// Runs a program to its end; what it printed, or the end of what it complained about.
pub fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    finish(&program, &output)
}

/// The same, with text on its standard input.
pub fn feed(command: &mut Command, input: &str) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("{program} does not run: {error}");
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    stdin.write_all(input.as_bytes()).map_err(failed)?;
    drop(stdin);
    finish(&program, &child.wait_with_output().map_err(failed)?)
}

fn finish(program: &str, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Err(format!(
        "{program} ended with {}: {}",
        output.status,
        lines[lines.len().saturating_sub(6)..].join("; ")
    ))
}
