//! `leakhound deploy service-fabric`: what it writes is valid by Service Fabric's own schema, and what is shipped is what it writes.

use crate::{files, leakhound, root, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCHEMA: &str = "tests/fixtures/service-fabric/ServiceFabricServiceModel.xsd";
const SHIPPED: &str = "deploy/service-fabric";
/// What is shipped besides what the command writes.
const OWN: [&str; 1] = ["README.md"];

/// The command's output folder, made with these arguments.
fn deploy(folder: &Path, arguments: &[&str]) -> Output {
    let out = folder.join("out");
    leakhound()
        .args(["deploy", "service-fabric", "--out"])
        .arg(&out)
        .args(arguments)
        .output()
        .unwrap()
}

fn deployed(folder: &Path, arguments: &[&str]) -> PathBuf {
    let output = deploy(folder, arguments);
    assert!(output.status.success(), "{}", text(&output));
    folder.join("out")
}

fn xmllint(files: &[PathBuf]) -> Output {
    let runs = || Command::new("xmllint").arg("--version").output().is_ok();
    if !runs() {
        leakhound_testbed::debian::install("libxml2-utils");
        assert!(
            runs(),
            "this test needs xmllint: apt-get install libxml2-utils"
        );
    }
    Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(root().join(SCHEMA))
        .args(files)
        .output()
        .unwrap()
}

fn manifests(out: &Path) -> Vec<PathBuf> {
    let all = files(out).into_iter();
    let xml = all.filter(|file| file.extension().is_some_and(|ending| ending == "xml"));
    xml.map(|file| out.join(file)).collect()
}

/// What begins like a Windows program.
fn windows_program(folder: &Path) -> String {
    let path = folder.join("leakhound.exe");
    fs::write(&path, b"MZ not really").unwrap();
    path.display().to_string()
}

#[test]
fn the_package_is_valid_for_both_systems() {
    let folder = tempfile::tempdir().unwrap();
    let out = deployed(folder.path(), &[]);
    let files = manifests(&out);
    assert_eq!(files.len(), 4, "{files:?}");
    let output = xmllint(&files);
    assert!(output.status.success(), "{}", text(&output));

    let windows = tempfile::tempdir().unwrap();
    let program = windows_program(windows.path());
    let other = deployed(windows.path(), &["--os", "windows", "--program", &program]);
    let output = xmllint(&manifests(&other));
    assert!(output.status.success(), "{}", text(&output));
    let service =
        fs::read_to_string(other.join("package/LeakhoundPkg/ServiceManifest.xml")).unwrap();
    for words in [
        "<Program>leakhound.exe</Program>",
        "<Program>setup.cmd</Program>",
    ] {
        assert!(service.contains(words), "{service}");
    }
    for (file, words) in [
        ("setup.cmd", "set \"archive=D:\\Leakhound\"\r\n"),
        (
            "../Config/leakhound.toml",
            "folders = ['D:\\SvcFab\\Log\\ApplicationCrashDumps\\*']",
        ),
    ] {
        let path = other.join("package/LeakhoundPkg/Code").join(file);
        let said = fs::read_to_string(path).unwrap();
        assert!(said.contains(words), "{said}");
    }

    // The schema is not there for show.
    let wrong = folder.path().join("ServiceManifest.xml");
    let manifest =
        fs::read_to_string(out.join("package/LeakhoundPkg/ServiceManifest.xml")).unwrap();
    assert!(
        manifest.contains("<WorkingFolder>CodePackage<"),
        "{manifest}"
    );
    fs::write(
        &wrong,
        manifest.replace("<WorkingFolder>CodePackage<", "<WorkingFolder>Wrok<"),
    )
    .unwrap();
    let output = xmllint(&[wrong]);
    assert!(
        !output.status.success() && text(&output).contains("Wrok"),
        "{}",
        text(&output)
    );
}

/// `LEAKHOUND_UPDATE=1` writes `deploy/service-fabric` anew.
#[test]
fn what_is_shipped_is_what_the_command_writes() {
    let folder = tempfile::tempdir().unwrap();
    let out = deployed(folder.path(), &[]);
    let program = out.join("package/LeakhoundPkg/Code/leakhound");
    let here = fs::read(env!("CARGO_BIN_EXE_leakhound")).unwrap();
    assert!(
        fs::read(&program).unwrap() == here,
        "the package has another program"
    );
    fs::remove_file(&program).unwrap();
    let shipped = root().join(SHIPPED);
    if std::env::var_os("LEAKHOUND_UPDATE").is_some() {
        for file in files(&out) {
            fs::create_dir_all(shipped.join(&file).parent().unwrap()).unwrap();
            fs::copy(out.join(&file), shipped.join(&file)).unwrap();
        }
    }
    let mut known = files(&shipped);
    known.retain(|file| !OWN.iter().any(|own| file == Path::new(own)));
    assert_eq!(known, files(&out));
    for file in known {
        let read = |folder: &Path| fs::read_to_string(folder.join(&file)).unwrap();
        assert_eq!(read(&shipped), read(&out), "{}", file.display());
    }
}

#[test]
fn each_secret_is_a_parameter_and_only_the_configurations_version_moves() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("leakhound.toml");
    let written = "[archive]\nlocation = \"/mnt/o'hound\"\n[triage]\nmemory = \"6 GB\"\n\
        [[notify]]\nname = \"a\"\nslack = { webhook = { env = \"CART_SLACK\" } }\n\
        [[notify]]\nname = \"b\"\nwebhook = { url = { env = \"AUTO_URL\" }, secret = { env = \"AUTO_SECRET\" } }\n";
    fs::write(&config, written).unwrap();
    let config = config.display().to_string();
    let out = deployed(
        folder.path(),
        &["--config", &config, "--version", "0.1.0-2"],
    );
    let read = |file: &str| fs::read_to_string(out.join(file)).unwrap();
    assert_eq!(read("package/LeakhoundPkg/Config/leakhound.toml"), written);
    let output = xmllint(&manifests(&out));
    assert!(output.status.success(), "{}", text(&output));
    let application = read("package/ApplicationManifest.xml");
    let service = read("package/LeakhoundPkg/ServiceManifest.xml");
    for name in ["CART_SLACK", "AUTO_URL", "AUTO_SECRET"] {
        assert!(application.contains(&format!("<Parameter Name=\"{name}\" DefaultValue=\"\" />")));
        assert!(application.contains(&format!(
            "<EnvironmentVariable Name=\"{name}\" Value=\"[{name}]\" />"
        )));
        assert!(service.contains(&format!(
            "<EnvironmentVariable Name=\"{name}\" Value=\"\" />"
        )));
        let parameters: serde_json::Value = serde_json::from_str(&read("parameters.json")).unwrap();
        assert_eq!(parameters[name], "");
        assert!(read("leakhound.bicep").contains(&format!("@secure()\nparam {name} string")));
    }
    // 6 GB for the reader, and what the agent needs itself.
    assert!(
        application.contains("Name=\"MemoryInMB\" DefaultValue=\"6400\""),
        "{application}"
    );
    let moved = [
        (&application, "ApplicationTypeVersion=\"0.1.0-2\""),
        (&application, "ServiceManifestVersion=\"0.1.0-2\""),
        (&service, "Name=\"LeakhoundPkg\" Version=\"0.1.0-2\""),
        (
            &service,
            "<ConfigPackage Name=\"Config\" Version=\"0.1.0-2\" />",
        ),
        (&application, "InstanceCount=\"-1\""),
    ];
    for (manifest, words) in moved {
        assert!(manifest.contains(words), "{words}: {manifest}");
    }
    let code = format!(
        "<CodePackage Name=\"Code\" Version=\"{}\">",
        env!("CARGO_PKG_VERSION")
    );
    assert!(service.contains(&code), "{service}");
    let start = read("package/LeakhoundPkg/Code/start.sh");
    assert!(start.contains(r"archive='/mnt/o'\''hound'"), "{start}");
}

#[test]
fn a_call_that_cannot_be_right_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let typo = config("typo.toml", "[[service]]\nnaem = \"x\"\n");
    let elsewhere = config("elsewhere.toml", "[archive]\nlocation = 'D:\\Leakhound'\n");
    let taken = config(
        "taken.toml",
        "[[notify]]\nname = \"a\"\nslack = { webhook = { env = \"Log\" } }\n",
    );
    let program = windows_program(folder.path());
    for (arguments, reason) in [
        (vec!["--config", "/no/such.toml"], "/no/such.toml"),
        (vec!["--config", &typo], "naem"),
        (vec!["--config", &elsewhere], "archive.location"),
        (vec!["--config", &taken], "choose another name"),
        (vec!["--os", "windows"], "is no program for Windows"),
        (vec!["--program", &program], "is no program for Linux"),
        (vec!["--version", "1/2"], "--version"),
        (vec!["--version", ".."], "--version"),
    ] {
        let output = deploy(folder.path(), &arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert!(
            !folder.path().join("out").exists(),
            "{arguments:?} left something behind"
        );
    }
    deployed(folder.path(), &[]);
    let again = deploy(folder.path(), &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again).contains("exists already"), "{}", text(&again));
}

/// Programs that note how they were called in place of doing it.
fn noted(folder: &Path, names: &[&str]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let programs = folder.join("bin");
    fs::create_dir(&programs).unwrap();
    for name in names {
        let path = programs.join(name);
        let script = format!(
            "#!/bin/sh\nfor word in {name} \"$@\"; do printf '%s\\n' \"$word\"; done >>\"$NOTES\"\necho >>\"$NOTES\"\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    programs
}

/// The calls that were noted.
fn calls(notes: &Path) -> Vec<Vec<String>> {
    let all = fs::read_to_string(notes).unwrap();
    let blocks = all.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| block.lines().map(str::to_owned).collect())
        .collect()
}

/// Root is given up before the agent starts, and what is left are the two rights of the systemd unit.
#[test]
fn root_is_given_up_before_the_agent_starts() {
    let folder = tempfile::tempdir().unwrap();
    let out = deployed(folder.path(), &[]);
    let programs = noted(folder.path(), &["getent", "useradd", "install", "setpriv"]);
    let notes = folder.path().join("notes");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let start = out.join("package/LeakhoundPkg/Code/start.sh");
    let output = Command::new(&start)
        .args(["run", "--config-package", "Config"])
        .env("PATH", path)
        .env("NOTES", &notes)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let calls = calls(&notes);
    let names: Vec<&str> = calls.iter().map(|call| call[0].as_str()).collect();
    assert_eq!(
        names,
        ["getent", "install", "setpriv"],
        "the user is there already"
    );
    let setpriv = calls[2].join(" ");
    let rights = "-all,+sys_ptrace,+dac_read_search";
    for words in [
        "--reuid leakhound --regid leakhound --init-groups --no-new-privs".to_owned(),
        format!("--inh-caps {rights} --ambient-caps {rights} --bounding-set {rights}"),
        "leakhound run --config-package Config".to_owned(),
    ] {
        assert!(setpriv.contains(&words), "{setpriv}");
    }

    // The real one understands that, where we are root.
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let program = calls[2]
        .iter()
        .position(|word| word.ends_with("/leakhound"))
        .unwrap();
    // Some user that is everywhere, and a group by its number.
    let options = (1..program).map(
        |at| match (calls[2][at - 1].as_str(), calls[2][at].as_str()) {
            ("--reuid", _) => "nobody",
            ("--regid", _) => "65534",
            (_, word) => word,
        },
    );
    let output = Command::new("setpriv")
        .args(options)
        .args(["cat", "/proc/self/status"])
        .output()
        .unwrap();
    let status = text(&output);
    // CAP_DAC_READ_SEARCH is 2, CAP_SYS_PTRACE 19.
    let expected = format!("CapEff:\t{:016x}", (1_u64 << 2) | (1 << 19));
    assert!(
        status.contains(&expected) && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );
}

#[test]
fn scripts_are_what_their_shells_read() {
    for script in ["deploy.sh", "package/LeakhoundPkg/Code/start.sh"] {
        let path = root().join(SHIPPED).join(script);
        let output = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    let output = Command::new(root().join(SHIPPED).join("deploy.sh"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("install|upgrade|remove"),
        "{}",
        text(&output)
    );
}
