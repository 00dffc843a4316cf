//! What `deploy/` ships is accepted by the programs that will read it: xmllint with Service Fabric's own schema, promtool, and
//! systemd-analyze.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCHEMA: &str = "tests/fixtures/service-fabric/ServiceFabricServiceModel.xsd";
const PACKAGE: &str = "deploy/service-fabric";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Makes sure that `tool` runs. Installs its Debian package when we may; otherwise says what to do.
fn need(tool: &str, package: &str) {
    let runs = || Command::new(tool).arg("--version").output().is_ok();
    if runs() {
        return;
    }
    leakhound_testbed::debian::install(package);
    assert!(
        runs(),
        "this test needs {tool}, which is not installed and could not be: apt-get install {package}"
    );
}

fn xmllint(files: &[PathBuf]) -> Output {
    need("xmllint", "libxml2-utils");
    Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(root().join(SCHEMA))
        .args(files)
        .output()
        .expect("xmllint ran a moment ago")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn service_fabric_manifests_are_valid_against_the_official_schema() {
    let files = [
        "ApplicationManifest.xml",
        "Parameters.xml",
        "LeakhoundPkg/ServiceManifest.xml",
        "LeakhoundPkg/Config/Settings.xml",
    ]
    .map(|file| root().join(PACKAGE).join(file));
    let output = xmllint(&files);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_wrong_manifest_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ServiceManifest.xml");
    let manifest = read("deploy/service-fabric/LeakhoundPkg/ServiceManifest.xml");
    assert!(manifest.contains("<WorkingFolder>CodePackage<"));
    let wrong = manifest.replace("<WorkingFolder>CodePackage<", "<WorkingFolder>Wrok<");
    fs::write(&file, wrong).expect("write");
    let output = xmllint(&[file]);
    assert!(!output.status.success());
    assert!(text(&output).contains("Wrok"), "{}", text(&output));
}

/// The value of `name="…"` in the first element called `element`.
fn attribute<'a>(xml: &'a str, element: &str, name: &str) -> &'a str {
    let start = xml.find(&format!("<{element} ")).expect("the element");
    let tag = &xml[start..start + xml[start..].find('>').expect("the tag's end")];
    let value = tag
        .split_once(&format!(" {name}=\""))
        .expect("the attribute")
        .1;
    value.split_once('"').expect("the closing quote").0
}

#[test]
fn the_package_runs_on_every_node_with_its_own_configuration_and_version() {
    let application = read("deploy/service-fabric/ApplicationManifest.xml");
    let service = read("deploy/service-fabric/LeakhoundPkg/ServiceManifest.xml");
    let version = env!("CARGO_PKG_VERSION");

    assert_eq!(
        attribute(&application, "StatelessService", "InstanceCount"),
        "-1"
    );
    assert_eq!(
        attribute(
            &application,
            "ApplicationManifest",
            "ApplicationTypeVersion"
        ),
        version
    );
    assert_eq!(
        attribute(&application, "ServiceManifestRef", "ServiceManifestVersion"),
        version
    );
    assert_eq!(attribute(&service, "ServiceManifest", "Version"), version);
    assert_eq!(attribute(&service, "CodePackage", "Version"), version);

    // Service Fabric lays packages out as PACKAGE.NAME.VERSION, side by side.
    let package = attribute(&service, "ServiceManifest", "Name");
    let config = attribute(&service, "ConfigPackage", "Name");
    let config_version = attribute(&service, "ConfigPackage", "Version");
    let argument = format!("run --config ../{package}.{config}.{config_version}/leakhound.toml<");
    assert!(
        service.contains(&argument),
        "the service manifest does not start {argument}"
    );
}

#[test]
fn the_package_script_lays_out_what_service_fabric_expects() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("package");
    let script = root().join(PACKAGE).join("package.sh");
    let pack = |config: &[&Path]| {
        Command::new(&script)
            .arg(env!("CARGO_BIN_EXE_leakhound"))
            .arg(&out)
            .args(config)
            .output()
            .expect("sh is there")
    };

    let missing = pack(&[Path::new("/no/such/leakhound.toml")]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing).contains("no such file"),
        "{}",
        text(&missing)
    );
    assert!(!out.exists(), "a refused call left something behind");

    let output = pack(&[]);
    assert!(output.status.success(), "{}", text(&output));
    for file in [
        "ApplicationManifest.xml",
        "LeakhoundPkg/ServiceManifest.xml",
        "LeakhoundPkg/Config/Settings.xml",
        "LeakhoundPkg/Config/leakhound.toml",
        "LeakhoundPkg/Code/leakhound",
    ] {
        assert!(
            out.join(file).is_file(),
            "{file} is missing from the package"
        );
    }
    let again = pack(&[&root().join("deploy/config/leakhound.toml")]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "an existing package was overwritten"
    );
}

/// The unit with its program replaced by one that exists here, under its own name in a folder of its own.
fn unit_with_a_program(folder: &Path) -> PathBuf {
    let unit = read("deploy/systemd/leakhound.service");
    assert!(unit.contains("ExecStart=/usr/bin/leakhound run "));
    let file = folder.join("leakhound.service");
    let here = format!("ExecStart={} run ", env!("CARGO_BIN_EXE_leakhound"));
    fs::write(
        &file,
        unit.replace("ExecStart=/usr/bin/leakhound run ", &here),
    )
    .expect("write");
    file
}

#[test]
fn systemd_accepts_the_unit() {
    need("systemd-analyze", "systemd");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_a_program(folder.path());
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--generators=no"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze is there");
    assert!(output.status.success(), "{}", text(&output));
    // An unknown key is only a warning to systemd; to us it is a typing error. Units of other packages are not our concern.
    let said = text(&output);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("leakhound"))
        .collect();
    assert_eq!(ours, [""; 0], "systemd-analyze had something to say");
}

#[test]
fn the_unit_stays_hardened() {
    need("systemd-analyze", "systemd");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unit = unit_with_a_program(folder.path());
    // Exposure 0 (sealed) to 100 (unprotected); the unit is at 28, and systemd calls anything below 40 "OK".
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=30"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze is there");
    assert!(output.status.success(), "{}", text(&output));

    let unit = fs::read_to_string(&unit).expect("just written");
    let rights = "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH";
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert!(
            unit.lines().any(|line| line == format!("{key}={rights}")),
            "{key} is no longer exactly {rights}"
        );
    }
}

const CONFIGURATIONS: [&str; 2] = [
    "deploy/config/leakhound.toml",
    "deploy/service-fabric/LeakhoundPkg/Config/leakhound.toml",
];

#[test]
fn shipped_configurations_name_destinations_and_triggers_that_exist() {
    use leakhound_triage::notify::DestinationConfig;

    for file in CONFIGURATIONS {
        let config: toml::Table = read(file).parse().unwrap_or_else(|e| panic!("{file}: {e}"));
        let blocks = |key: &str| match config.get(key) {
            Some(toml::Value::Array(blocks)) => blocks.clone(),
            _ => panic!("{file} has no [[{key}]]"),
        };
        let mut names = Vec::new();
        for block in blocks("notify") {
            let destination: DestinationConfig =
                block.try_into().unwrap_or_else(|e| panic!("{file}: {e}"));
            names.push(destination.name);
        }
        let mut n_triggers = 0;
        for service in blocks("service") {
            let list = |key: &str| match service.get(key) {
                Some(toml::Value::Array(list)) => list.clone(),
                _ => Vec::new(),
            };
            for name in list("notify") {
                let name = name.as_str().expect("names are text");
                assert!(
                    names.iter().any(|n| n == name),
                    "{file}: no [[notify]] is called {name}"
                );
            }
            for trigger in list("trigger") {
                let when = trigger
                    .get("when")
                    .and_then(toml::Value::as_str)
                    .expect("`when` is text");
                leakhound_rules::Trigger::parse(when).unwrap_or_else(|e| panic!("{file}: {e}"));
                n_triggers += 1;
            }
        }
        assert!(n_triggers >= 2, "{file} shows {n_triggers} triggers");
    }
}

#[test]
fn the_reference_shows_the_defaults() {
    use leakhound_collector::config::{AdoptConfig, CaptureConfig, Config, parse};

    for file in CONFIGURATIONS {
        let mut config: toml::Table = read(file).parse().expect("TOML");
        // These belong to others; what is left is the collector's.
        for section in ["archive", "triage", "incidents", "metrics", "notify"] {
            config.remove(section);
        }
        let text = toml::to_string(&config).expect("it was TOML");
        let config: Config = parse(&text, Path::new(file)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            config.capture,
            CaptureConfig::default(),
            "{file}: [capture]"
        );
        assert_eq!(config.adopt, AdoptConfig::default(), "{file}: [adopt]");
    }
}

#[test]
fn the_alerts_fire_when_they_should() {
    let promtool = leakhound_testbed::debian::program("prometheus", "promtool")
        .expect("this test needs promtool, which could not be had: apt-get install prometheus");
    let test = |folder: &Path| {
        Command::new(&promtool)
            .args(["test", "rules", "leakhound.tests.yml"])
            .current_dir(folder)
            .output()
            .expect("promtool runs")
    };
    let output = test(&root().join("deploy/monitoring"));
    assert!(output.status.success(), "{}", text(&output));

    // Its tests mean something: another threshold is noticed.
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["leakhound.rules.yml", "leakhound.tests.yml"] {
        let words = read(&format!("deploy/monitoring/{file}"));
        let spoiled = words.replace(r#"{state="dead"} > 0"#, r#"{state="dead"} > 5"#);
        fs::write(folder.path().join(file), spoiled).expect("write");
    }
    let output = test(folder.path());
    assert!(!output.status.success());
    assert!(
        text(&output).contains("LeakhoundDeadLetters"),
        "{}",
        text(&output)
    );
}

#[test]
fn alerts_and_their_guide_name_figures_that_there_are() {
    let page = read("src/metrics/golden.prom");
    let known: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(known.len() > 10, "{known:?}");
    for file in ["leakhound.rules.yml", "README.md"] {
        let words = read(&format!("deploy/monitoring/{file}"));
        let names = words
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("leakhound_"));
        for name in names {
            assert!(known.contains(&name), "{file} speaks of {name}");
        }
    }
    let guide = read("deploy/monitoring/README.md");
    for name in known {
        assert!(guide.contains(name), "the guide lacks {name}");
    }
}
