//! The configuration of a running agent follows the config package that is in force.
#![cfg(target_os = "linux")]

use crate::{Running, eventually, leakhound};
use std::path::Path;
use std::process::{Command, Stdio};

/// Lays a version of the config package out as Service Fabric does, and puts it into force.
fn roll_out(application: &Path, version: &str, config: &str) {
    let folder = application.join(format!("LeakhoundPkg.Config.{version}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("leakhound.toml"), config).unwrap();
    let current = format!(
        r#"<ServicePackage xmlns="http://schemas.microsoft.com/2011/01/fabric" Name="LeakhoundPkg" ManifestVersion="{version}" RolloutVersion="1.0"><DigestedCodePackage RolloutVersion="1.0"><CodePackage Name="Code" Version="0.1.0"/></DigestedCodePackage><DigestedConfigPackage RolloutVersion="1.0"><ConfigPackage Name="Config" Version="{version}"/></DigestedConfigPackage></ServicePackage>"#
    );
    std::fs::write(
        application.join("LeakhoundPkg.Package.Current.xml"),
        current,
    )
    .unwrap();
}

#[test]
fn another_version_of_the_config_package_is_taken_up_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let application = folder.path().join("_App/LeakhoundType_App7");
    let target = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let pid = target.0.id();
    let config = |services: &str| {
        format!(
            "[archive]\nlocation = {:?}\n{services}",
            folder.path().join("archive")
        )
    };
    roll_out(&application, "0.1.0", &config(""));
    let log = folder.path().join("log");
    let agent = Running(
        leakhound()
            .args(["run", "--config-package", "Config"])
            .env("Fabric_Folder_Application", &application)
            .env("Fabric_ServicePackageName", "LeakhoundPkg")
            .env("RUNTIME_DIRECTORY", folder.path().join("run"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let wait_for = |words: &str| eventually(words, said, || said().contains(words));
    wait_for("LeakhoundPkg.Config.0.1.0/leakhound.toml");

    // A bad one changes nothing, a good one takes effect in the process that runs.
    roll_out(&application, "0.1.0-2", "[[service]]\nnaem = \"sleeper\"\n");
    wait_for("the last good one stays in force");
    roll_out(
        &application,
        "0.1.0-3",
        &config(&format!("[[service]]\nname = \"sleeper\"\npid = {pid}\n")),
    );
    wait_for("LeakhoundPkg.Config.0.1.0-3/leakhound.toml");
    wait_for("Watching");
    assert!(said().contains("sleeper"), "{}", said());
    drop(agent);

    // Outside of Service Fabric it says what is missing.
    let output = leakhound()
        .args(["run", "--config-package", "Config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("Fabric_Folder_Application is not set"),
        "{said}"
    );
}
