//! `leakhound deploy service-fabric`: the application package with a configuration in it, and scripts beside it.
//!
//! `deploy/service-fabric` holds what it writes for Linux without `--config`, for reading; a test keeps the two equal.

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use anyhow::{Context, anyhow, ensure};
use minijinja::{Environment, UndefinedBehavior, context};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Service Fabric makes folders of versions.
const VERSION_CHARS: usize = 64;
/// What the agent needs beside the memory in which it reads dumps.
const AGENT_MB: u64 = 512;
/// Limits are written in steps of this size.
const STEP_MB: u64 = 256;

/// Write a complete Service Fabric application package: manifests, this program, the configuration; and beside it scripts for
/// sfctl, PowerShell and Bicep that install, upgrade and remove it.
///
/// Each secret that the configuration takes from the environment, { env = "NAME" }, becomes a parameter of the application.
#[derive(Debug, clap::Args)]
// `--version` is that of the package here.
#[command(disable_version_flag = true)]
#[command(after_help = "\
Examples:
  leakhound deploy service-fabric --out pkg                               a first look, for nodes like this machine
  leakhound deploy service-fabric --out pkg --config leakhound.toml
  leakhound deploy service-fabric --out pkg2 --config new.toml --version 0.1.0-2
                                                                          another configuration: pkg2/deploy.sh upgrade
  leakhound deploy service-fabric --out pkg --os windows --program leakhound.exe")]
pub struct Args {
    /// Folder to make; it must not exist yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Configuration to put in; default: every service of the cluster with the default triggers, and Teams.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the nodes run.
    #[arg(long, value_enum, default_value_t = Os::HERE)]
    os: Os,
    /// The leakhound program for the nodes; default: this one.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Version of application type and configuration; a new one for each upgrade.
    #[arg(long, value_name = "TEXT", default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Version of the program in the package; while it stays, an upgrade restarts nothing.
    #[arg(long, value_name = "TEXT", default_value = env!("CARGO_PKG_VERSION"))]
    code_version: String,
}

/// What the nodes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Os {
    Linux,
    Windows,
}

impl Os {
    const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else {
        Self::Linux
    };

    const fn program(self) -> &'static str {
        match self {
            Self::Linux => "leakhound",
            Self::Windows => "leakhound.exe",
        }
    }

    /// How an executable file of this system begins.
    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Linux => b"\x7fELF",
            Self::Windows => b"MZ",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Windows => "Windows",
        }
    }
}

/// A file that is written: where, and its template.
struct File {
    path: &'static str,
    template: &'static str,
    /// Written for this system only.
    only: Option<Os>,
}

const fn file(path: &'static str, template: &'static str, only: Option<Os>) -> File {
    File {
        path,
        template,
        only,
    }
}

const CONFIG: &str = "package/LeakhoundPkg/Config/leakhound.toml";

#[rustfmt::skip] // a table
const FILES: &[File] = &[
    file("package/ApplicationManifest.xml", include_str!("service_fabric/ApplicationManifest.xml.j2"), None),
    file("package/LeakhoundPkg/ServiceManifest.xml", include_str!("service_fabric/ServiceManifest.xml.j2"), None),
    file("package/LeakhoundPkg/Config/Settings.xml", include_str!("service_fabric/Settings.xml.j2"), None),
    file("package/LeakhoundPkg/Code/start.sh", include_str!("service_fabric/start.sh.j2"), Some(Os::Linux)),
    file("package/LeakhoundPkg/Code/setup.cmd", include_str!("service_fabric/setup.cmd.j2"), Some(Os::Windows)),
    file("Parameters.xml", include_str!("service_fabric/Parameters.xml.j2"), None),
    file("parameters.json", include_str!("service_fabric/parameters.json.j2"), None),
    file("deploy.sh", include_str!("service_fabric/deploy.sh.j2"), None),
    file("deploy.ps1", include_str!("service_fabric/deploy.ps1.j2"), None),
    file("leakhound.bicep", include_str!("service_fabric/leakhound.bicep.j2"), None),
];

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    check_version("--version", &args.version)?;
    check_version("--code-version", &args.code_version)?;
    let program = program(args)?;
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let windows = args.os == Os::Windows;
    let (text, source) = match &args.config {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration {}", path.display()))
                .or_usage()?;
            (text, path.clone())
        }
        None => {
            let template = include_str!("service_fabric/leakhound.toml.j2");
            let text = templates
                .render_str(template, context! { windows })
                .or_usage()?;
            (text, PathBuf::from("leakhound.toml"))
        }
    };
    let config = Config::parse(&text, &source).or_usage()?;
    let archive = config.archive.location.display().to_string();
    check_archive(&archive, args.os)?;
    let secrets = secrets(&text, &source)?;
    let values = context! {
        windows,
        secrets,
        version => args.version.as_str(),
        code_version => args.code_version.as_str(),
        entry => if windows { args.os.program() } else { "start.sh" },
        memory_mb => memory_mb(config.triage.memory.0),
        archive_sh => format!("'{}'", archive.replace('\'', r"'\''")),
        archive_cmd => archive.replace('%', "%%"),
    };

    // Everything is known to be good before the first byte is written.
    let mut written = vec![(CONFIG, text)];
    for file in FILES {
        if file.only.is_none_or(|os| os == args.os) {
            let text = templates.render_str(file.template, &values);
            written.push((file.path, text.with_context(|| file.path).or_usage()?));
        }
    }
    write(args, &written, &program)?;
    println!("{} is written.", args.out.display());
    println!("  fill in   {}", args.out.join("parameters.json").display());
    println!(
        "  install   {} install",
        args.out.join("deploy.sh").display()
    );
    println!("  or        deploy.ps1 install, or leakhound.bicep");
    Ok(Exit::Ok)
}

fn write(args: &Args, written: &[(&str, String)], program: &Path) -> Result<(), Failure> {
    let out = &args.out;
    let about = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir(out)
        .with_context(|| match out.exists() {
            true => format!(
                "{} exists already; name a folder that does not",
                out.display()
            ),
            false => about(out),
        })
        .or_usage()?;
    for (path, text) in written {
        let path = out.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| about(folder))
                .or_usage()?;
        }
        // cmd reads a script with bare line feeds wrongly in places.
        let text = match path.extension().is_some_and(|ending| ending == "cmd") {
            true => text.replace('\n', "\r\n"),
            false => text.clone(),
        };
        fs::write(&path, text)
            .with_context(|| about(&path))
            .or_usage()?;
        if path.extension().is_some_and(|ending| ending == "sh") {
            make_executable(&path).or_usage()?;
        }
    }
    let path = out
        .join("package/LeakhoundPkg/Code")
        .join(args.os.program());
    fs::copy(program, &path)
        .with_context(|| about(&path))
        .or_usage()?;
    make_executable(&path).or_usage()
}

#[cfg(unix)]
fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The program for the nodes, which must be one of their system.
fn program(args: &Args) -> Result<PathBuf, Failure> {
    let path = match &args.program {
        Some(path) => path.clone(),
        None => std::env::current_exe().or_input()?,
    };
    let mut start = Vec::new();
    fs::File::open(&path)
        .and_then(|file| file.take(4).read_to_end(&mut start))
        .with_context(|| format!("cannot read the program {}", path.display()))
        .or_usage()?;
    if !start.starts_with(args.os.magic()) {
        return Err(Failure::usage(anyhow!(
            "{} is no program for {}: name one with --program, or the system of the nodes with --os",
            path.display(),
            args.os.name()
        )));
    }
    Ok(path)
}

fn check_version(option: &str, version: &str) -> Result<(), Failure> {
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let good = (1..=VERSION_CHARS).contains(&version.len()) && version.chars().all(is_char);
    if good && !version.contains("..") {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "{option} {version:?}: expected 1 to {VERSION_CHARS} letters, digits, dots, hyphens and underscores, such as 0.1.0-2"
    )))
}

/// The archive's folder goes into a script that runs as root.
fn check_archive(archive: &str, os: Os) -> Result<(), Failure> {
    let absolute = match os {
        Os::Linux => archive.starts_with('/') && archive != "/",
        Os::Windows => {
            let mut chars = archive.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic())
                && chars.as_str().starts_with(":\\")
                && archive.len() > 3
        }
    };
    let plain = !archive.chars().any(|c| c.is_control() || c == '"');
    if absolute && plain {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "archive.location is {archive:?}: the nodes run {}, where a folder is written like {}",
        os.name(),
        match os {
            Os::Linux => "\"/mnt/leakhound\"",
            Os::Windows => r"'D:\Leakhound'",
        }
    )))
}

/// Memory limit of the code package: the reader's, and the agent's own.
fn memory_mb(reader_bytes: u64) -> u64 {
    let needed = reader_bytes.div_ceil(1 << 20) + AGENT_MB;
    needed.div_ceil(STEP_MB) * STEP_MB
}

/// Names of all variables that the configuration refers to as `{ env = "NAME" }`.
fn secrets(text: &str, source: &Path) -> Result<BTreeSet<String>, Failure> {
    let table: toml::Table = text.parse().or_usage()?;
    let mut names = BTreeSet::new();
    collect(&toml::Value::Table(table), &mut names);
    for name in &names {
        let is_name = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_'))
            && !name.starts_with(|c: char| c.is_ascii_digit());
        (|| {
            ensure!(
                is_name,
                "{}: {{ env = {name:?} }} cannot be a parameter of an application: letters, digits and _ only",
                source.display()
            );
            let taken = ["PlacementConstraints", "MemoryInMB", "CpuPercent", "Log"];
            ensure!(
                !taken.contains(&name.as_str()),
                "{}: {{ env = {name:?} }} is a parameter of the application already; choose another name",
                source.display()
            );
            Ok(())
        })()
        .or_usage()?;
    }
    Ok(names)
}

fn collect(value: &toml::Value, names: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            if let (1, Some(toml::Value::String(name))) = (table.len(), table.get("env")) {
                names.insert(name.clone());
            }
            table.values().for_each(|value| collect(value, names));
        }
        toml::Value::Array(list) => list.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
