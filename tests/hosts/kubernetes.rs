//! The DaemonSet: valid for Kubernetes, with the rights that the program asks for and no others; the image; and a container that is
//! found and captured from outside.

use leakhound_collector::rights::CAPABILITIES;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FOLDER: &str = "deploy/kubernetes";
/// Kubernetes releases whose schemas the manifests are held against: the oldest that still gets fixes, and the newest.
const RELEASES: [&str; 2] = ["1.34", "1.37"];

fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn programs() -> PathBuf {
    leakhound_testbed::python::programs(&["kubernetes-validate==1.37.0"])
        .expect("kubernetes-validate, from PyPI")
}

fn manifests() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(FOLDER)).expect("the folder");
    let paths = entries.flatten().map(|e| e.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|p| {
            p.extension().is_some_and(|e| e == "yaml") && !p.ends_with("kustomization.yaml")
        })
        .collect();
    paths.sort();
    paths
}

fn validate(release: &str, files: &[PathBuf]) -> Output {
    Command::new(programs().join("kubernetes-validate"))
        .args(["--strict", "-k", release])
        .args(files)
        .output()
        .expect("it starts")
}

/// A YAML file as JSON.
fn yaml(path: &Path) -> Value {
    let output = Command::new(programs().join("python"))
        .args([
            "-c",
            "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
        ])
        .arg(path)
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn manifest(name: &str) -> Value {
    yaml(&Path::new(ROOT).join(FOLDER).join(name))
}

#[test]
fn kubernetes_accepts_the_manifests_and_nothing_wrong() {
    for release in RELEASES {
        let output = validate(release, &manifests());
        assert!(output.status.success(), "{release}: {}", text(&output));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("daemonset.yaml");
    let good = fs::read_to_string(Path::new(ROOT).join(FOLDER).join("daemonset.yaml"))
        .expect("it is there");
    assert!(good.contains("hostPID: true"));
    fs::write(&file, good.replace("hostPID: true", "hostPid: true")).expect("written");
    let output = validate(RELEASES[1], &[file]);
    assert!(
        !output.status.success() && text(&output).contains("hostPid"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_daemon_set_gives_what_the_program_asks_for_and_no_more() {
    let set = manifest("daemonset.yaml");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    let asked: Vec<&str> = CAPABILITIES.iter().map(|c| c.name).collect();
    assert_eq!(
        security["capabilities"],
        serde_json::json!({ "drop": ["ALL"], "add": asked })
    );
    for (key, value) in [
        ("privileged", Value::Bool(false)),
        ("allowPrivilegeEscalation", Value::Bool(false)),
        ("readOnlyRootFilesystem", Value::Bool(true)),
    ] {
        assert_eq!(security[key], value, "{key}");
    }
    assert_eq!(pod["hostPID"], true);
    for key in ["hostNetwork", "hostIPC"] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);

    // What of the node it may write: its archive, and its locks.
    let mounts = container["volumeMounts"].as_array().expect("a list");
    let volumes = pod["volumes"].as_array().expect("a list");
    let written: Vec<&str> = mounts
        .iter()
        .filter(|m| m["readOnly"] != true)
        .filter_map(|m| {
            volumes.iter().find(|v| v["name"] == m["name"])?["hostPath"]["path"].as_str()
        })
        .collect();
    assert_eq!(written, ["/var/lib/leakhound", "/run/leakhound"]);

    // The same rights as a unit has.
    let unit = fs::read_to_string(Path::new(ROOT).join("deploy/systemd/leakhound.service"))
        .expect("it is there");
    let rights = asked
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect::<Vec<_>>()
        .join(" ");
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert!(
            unit.lines().any(|line| line == format!("{key}={rights}")),
            "{key} is not {rights}"
        );
    }
}

#[test]
fn the_kustomization_names_every_file_and_this_version() {
    let kustomization = manifest("kustomization.yaml");
    let resources = kustomization["resources"].as_array().expect("a list");
    let mut named: Vec<&str> = resources.iter().filter_map(Value::as_str).collect();
    named.sort_unstable();
    let files = manifests();
    let files: Vec<&str> = files
        .iter()
        .filter_map(|p| p.file_name()?.to_str())
        .collect();
    assert_eq!(named, files);
    assert_eq!(
        kustomization["images"][0]["newTag"],
        env!("CARGO_PKG_VERSION")
    );
    let output = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(["run", "--check", "--config"])
        .arg(Path::new(ROOT).join(FOLDER).join("leakhound.toml"))
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", text(&output));
}
