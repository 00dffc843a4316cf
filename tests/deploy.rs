//! What `deploy/` ships is accepted by the programs that will read it: promtool and systemd-analyze. Service Fabric has
//! tests of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
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
    "deploy/service-fabric/package/LeakhoundPkg/Config/leakhound.toml",
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
        for section in [
            "archive",
            "fabric",
            "triage",
            "incidents",
            "metrics",
            "notify",
        ] {
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
