//! `leakhound import fabric-observer`: thresholds are taken over, and what cannot be is named.

use crate::{leakhound, root, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/fabric-observer").join(name)
}

fn import(files: &[&Path]) -> Output {
    leakhound()
        .args(["import", "fabric-observer"])
        .args(files)
        .output()
        .unwrap()
}

/// `LEAKHOUND_UPDATE=1` writes `expected.toml` anew.
#[test]
fn thresholds_become_services_with_triggers() {
    let output = import(&[
        &fixture("AppObserver.config.json"),
        &fixture("ApplicationManifest.xml"),
    ]);
    assert!(output.status.success(), "{}", text(&output));
    let toml = String::from_utf8(output.stdout).unwrap();
    let expected = fixture("expected.toml");
    if std::env::var_os("LEAKHOUND_UPDATE").is_some() {
        fs::write(&expected, &toml).unwrap();
    }
    assert_eq!(toml, fs::read_to_string(&expected).unwrap());

    // Every threshold and setting of the file is either in a trigger or named as left out, in the file and on the terminal.
    let warnings = String::from_utf8(output.stderr).unwrap();
    for named in [
        "networkwarningephemeralportspercent = 30",
        "warningprivatebytespercent = 20",
        "colour = \"red\"",
        "networkwarningactiveports = 80",
        "warningrgmemorylimitpercent = 105",
        "cpuerrorlimitpercent is given twice; 90 is taken, not 95",
        "number 7 of the list: neither targetApp nor targetAppType",
        "EnableProcessDumps = false",
        "EnableTelemetry = true",
        "NodeObserverConfiguration: CpuWarningLimitPercent = 90",
    ] {
        assert!(warnings.contains(named), "{named}:\n{warnings}");
        assert!(toml.contains(named), "{named}:\n{toml}");
    }
}

#[test]
fn the_result_is_a_configuration_that_can_be_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("leakhound.toml");
    let output = leakhound()
        .args(["import", "fabric-observer"])
        .arg(fixture("AppObserver.config.json"))
        .arg("--out")
        .arg(&config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let check = leakhound()
        .args(["run", "--check", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", text(&check));
    // Without settings there are no limits of FabricObserver's, and ours hold.
    let toml = fs::read_to_string(&config).unwrap();
    assert!(
        !toml.contains("limit =") && toml.contains("private_bytes > 1024 MiB for 30 s"),
        "{toml}"
    );
}

#[test]
fn what_is_no_such_file_is_refused_with_place_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, reason) in [
        ("list.json", "{ \"targetApp\": \"x\" }", "expected a list"),
        ("text.json", "[ 1 ]", "number 1 of the list"),
        (
            "number.json",
            "[ { \"targetApp\": \"x\" }, { \"targetApp\": \"y\", \"cpuWarningLimitPercent\": \"much\" } ]",
            "number 2 of the list, cpuWarningLimitPercent: expected a number",
        ),
        ("cut.json", "[ { \"targetApp\": \"x\"", "line 1"),
        ("cut.xml", "<ApplicationManifest>", "cut.xml"),
        ("only.xml", "<Settings/>", "AppObserver.config.json"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let output = import(&[&path]);
        let said = text(&output);
        assert!(
            matches!(output.status.code(), Some(2 | 3)),
            "{name}: {said}"
        );
        assert!(said.contains(reason), "{name}: {said}");
    }
    let output = import(&[Path::new("/no/such.json")]);
    assert_eq!(output.status.code(), Some(3));
}
