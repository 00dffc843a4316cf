//! The shipped script, with Microsoft's own client, installs, upgrades and removes the application; a change of the configuration
//! reaches an agent that runs.

use crate::cluster::Cluster;
use crate::{Running, eventually, leakhound, text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The client, and what it needs that newer Pythons leave out; as in the tests of delivery.
const PACKAGES: &[&str] = &["sfctl==11.2.1", "setuptools==65.5.0"];

struct Operator {
    python: PathBuf,
    home: PathBuf,
}

impl Operator {
    fn run(&self, command: &mut Command) -> Output {
        let bin = self.python.parent().unwrap().display().to_string();
        command
            .env("HOME", &self.home)
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn ok(&self, command: &mut Command) {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
}

/// A package with a small program in it, since it is uploaded through an interpreter.
fn package(out: &Path, config: &Path, version: &str) {
    let output = leakhound()
        .args([
            "deploy",
            "service-fabric",
            "--program",
            "/bin/true",
            "--version",
            version,
            "--out",
        ])
        .arg(out)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_script_installs_upgrades_and_removes_with_microsofts_client() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let operator = Operator {
        python: crate::support::python("python-sfctl-11.2.1", PACKAGES),
        home: at("home"),
    };
    let cluster = Cluster::start(&operator.python, folder.path());
    cluster.say(Some(&json!({ "nodes": { "_Node_0": {}, "_Node_1": {} } })));
    std::fs::create_dir_all(at("home/.sfctl")).unwrap();
    // It would tell its maker what it is asked.
    std::fs::write(
        at("home/.sfctl/config"),
        "[servicefabric]\nuse_telemetry = false\n",
    )
    .unwrap();
    operator.ok(Command::new("sfctl").args(["cluster", "select", "--endpoint", &cluster.plain()]));

    let config = |service: &str| {
        let text = format!(
            "[archive]\nlocation = {:?}\n[[service]]\nname = \"{service}\"\n",
            at("archive")
        );
        std::fs::write(at("leakhound.toml"), text).unwrap();
    };
    config("first");
    package(&at("one"), &at("leakhound.toml"), "0.1.0");
    let parameters: Value =
        serde_json::from_slice(&std::fs::read(at("one/parameters.json")).unwrap()).unwrap();
    operator.ok(Command::new(at("one/deploy.sh")).arg("install"));
    let seen = cluster.say(None);
    let installed = &seen["applications"]["fabric:/Leakhound"];
    assert_eq!(installed["TypeVersion"], "0.1.0");
    assert_eq!(
        installed["Parameters"].as_array().unwrap().len(),
        parameters.as_object().unwrap().len()
    );
    assert_eq!(seen["store"], json!([]), "the upload was left behind");

    // What lies on a node now runs there.
    let application = at("_Node_0/LeakhoundType_App1");
    let log = at("log");
    let _agent = Running(
        leakhound()
            .args(["run", "--config-package", "Config"])
            .env("Fabric_Folder_Application", &application)
            .env("Fabric_ServicePackageName", "LeakhoundPkg")
            .env("RUNTIME_DIRECTORY", at("run"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the agent watches", said, || {
        said().contains("Leakhound is watching")
    });

    config("second");
    package(&at("two"), &at("leakhound.toml"), "0.1.0-2");
    operator.ok(Command::new(at("two/deploy.sh")).arg("upgrade"));
    eventually("the new configuration is read", said, || {
        said().contains("Configuration is read again")
            && said().contains("LeakhoundPkg.Config.0.1.0-2")
    });
    // The program's own package is the one that was there, so Service Fabric restarts nothing.
    let code: Vec<String> = std::fs::read_dir(&application)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("LeakhoundPkg.Code."))
        .collect();
    assert_eq!(
        code,
        [format!("LeakhoundPkg.Code.{}", env!("CARGO_PKG_VERSION"))]
    );

    // The same version twice is refused by the cluster, and the script says so.
    let again = operator.run(Command::new(at("two/deploy.sh")).arg("upgrade"));
    assert!(
        !again.status.success()
            && text(&again).contains("FABRIC_E_APPLICATION_TYPE_ALREADY_EXISTS"),
        "{}",
        text(&again)
    );

    operator.ok(Command::new(at("two/deploy.sh")).arg("remove"));
    let seen = cluster.say(None);
    assert_eq!(seen["applications"], json!({}));
    assert_eq!(
        seen["types"],
        json!([["LeakhoundType", "0.1.0"]]),
        "the version that ran is gone"
    );
}
