//! The catalogues of services: `tests/targets/NAME.cs` and `tests/accuracy/services/NAME.cs`, each with its expected answer in
//! `NAME.toml`.

use crate::compiler::{self, Job, RUNTIME_CONFIG, References};
use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::hex;
use crate::place;
use crate::progress::Listener;
use crate::runtimes::Version;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A small service with one fault, or none.
#[derive(Debug, Clone)]
pub struct Target {
    /// File name without ending, `static-root`.
    pub name: String,
    /// Its sidecar.
    pub card: Card,
    /// No rule was made with it: see [`held_out()`].
    pub held_out: bool,
    source: PathBuf,
}

/// What `NAME.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name of the assembly, as a real service would have one: `Shop.Pricing`.
    pub assembly: String,
    /// What is wrong with it, in a sentence.
    pub about: String,
    /// The right answer.
    pub expect: Expectation,
    /// Runtimes where the fault exists; all when absent.
    #[serde(default)]
    pub runtimes: Vec<String>,
    /// The runtime that it is compiled against, the oldest it runs on: `3.1` (default) or `8`.
    #[serde(default)]
    pub references: Oldest,
    /// Whose choice the garbage collector is.
    #[serde(default)]
    pub gc: GcChoice,
    /// Commands to send between a first and a second capture, for faults that show as growth.
    #[serde(default)]
    pub between_captures: Vec<String>,
    /// Properties for runtimeconfig.json, such as `"System.GC.Server" = true`.
    #[serde(default)]
    pub config: BTreeMap<String, toml::Value>,
    /// Runtime settings for its environment, without prefix, such as `GCHeapHardLimit = "10000000"`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The oldest runtime that a service can run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Oldest {
    /// .NET Core 3.1.
    #[default]
    #[serde(rename = "3.1")]
    Net31,
    /// .NET 8.
    #[serde(rename = "8")]
    Net8,
}

/// Who chooses between workstation and server GC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GcChoice {
    /// The fault is there under either.
    #[default]
    Any,
    /// The settings of the service say, and the fault is there only so.
    Own,
}

/// The right answer about a target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Category of the finding that must be first; absent for a healthy service.
    pub category: Option<String>,
    /// Categories that are as right as `category`.
    #[serde(default)]
    pub or: Vec<String>,
    /// What must be blamed, or a part of its text.
    pub culprit: Option<String>,
    /// Verdicts of which one must be given; any when empty.
    #[serde(default)]
    pub verdict: Vec<String>,
    /// A second fault: one of both must be first, and both among the first three.
    pub also: Option<Fault>,
}

/// A fault beside another one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Category of its finding.
    pub category: String,
    /// What must be blamed, or a part of its text.
    pub culprit: Option<String>,
}

/// A compiled target.
#[derive(Debug, Clone)]
pub struct App {
    /// Name of the target or program.
    pub name: String,
    /// The program.
    pub dll: PathBuf,
    /// Runtime settings that it is always started with.
    pub settings: BTreeMap<String, String>,
}

/// All targets, in order of name.
pub fn all() -> Result<Vec<Target>> {
    read_all(&sources())
}

/// All services of the accuracy corpus that are not targets too, in order of name.
pub fn corpus() -> Result<Vec<Target>> {
    read_all(&sources().join("../accuracy/services"))
}

/// Services that no rule was made with, in order of name: what the diagnosis is worth on programs unseen.
pub fn held_out() -> Result<Vec<Target>> {
    let mut targets = read_all(&sources().join("../accuracy/held-out"))?;
    for target in &mut targets {
        target.held_out = true;
    }
    Ok(targets)
}

fn read_all(folder: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(folder).doing("list", folder)? {
        let source = entry.doing("list", folder)?.path();
        if source
            .extension()
            .is_some_and(|extension| extension == "cs")
        {
            targets.push(Target::read(source)?);
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// The target of that name.
pub fn get(name: &str) -> Result<Target> {
    let source = sources().join(format!("{name}.cs"));
    if source.is_file() {
        Target::read(source)
    } else {
        Err(Error::Content {
            path: source,
            why: "there is no such target".to_owned(),
        })
    }
}

/// The compiled target of that name; shorthand for tests.
pub fn app(name: &str) -> Result<App> {
    get(name)?.app(&mut |_| {})
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join("targets")
}

impl Target {
    fn read(source: PathBuf) -> Result<Self> {
        let sidecar = source.with_extension("toml");
        let text = std::fs::read_to_string(&sidecar).doing("read", &sidecar)?;
        let card = toml::from_str(&text).map_err(|error| Error::Content {
            path: sidecar.clone(),
            why: error.to_string(),
        })?;
        let name = source
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Self {
            name,
            card,
            held_out: false,
            source,
        })
    }

    /// Whether the fault exists on a runtime.
    #[must_use]
    pub fn runs_on(&self, version: Version) -> bool {
        let named = self.card.runtimes.is_empty()
            || self
                .card
                .runtimes
                .iter()
                .any(|name| name == version.short());
        named && (self.card.references == Oldest::Net31 || version != Version::Net31)
    }

    /// The compiled program, compiled now if its sources changed. Every other target that is stale is compiled in the
    /// same run, for starting the compiler costs more than compiling.
    pub fn app(&self, listen: &mut Listener<'_>) -> Result<App> {
        let place = place::folder()?;
        let wanted = Plan::of(self, &place)?;
        if !wanted.is_done() {
            let mut all = all()?;
            if all.iter().all(|target| target.source != self.source) {
                all = vec![self.clone()];
            }
            compile(&all, Some(&self.name), listen)?;
        }
        Ok(wanted.app())
    }
}

/// Compiles those of `targets` whose sources changed, in one run of the compiler. With `wanted`, only the failure of that one
/// is one.
pub fn compile(targets: &[Target], wanted: Option<&str>, listen: &mut Listener<'_>) -> Result<()> {
    let place = place::folder()?;
    let compiler = compiler::get(listen)?;
    let _lock = lock(&place, "apps")?;
    let mut stale = Vec::new();
    for target in targets {
        let plan = Plan::of(target, &place)?;
        if !plan.is_done() {
            plan.begin()?;
            stale.push(plan);
        }
    }
    let jobs: Vec<Job> = stale.iter().map(Plan::job).collect();
    let outcome = compiler.compile(&jobs, listen);
    for plan in &stale {
        plan.finish()?;
    }
    match stale
        .iter()
        .find(|plan| wanted.is_none_or(|name| name == plan.name) && !plan.is_done())
    {
        None => Ok(()),
        Some(missing) => outcome.and(Err(Error::Compile {
            target: missing.name.clone(),
            diagnostics: "the compiler reported success but wrote no program".to_owned(),
        })),
    }
}

/// Where a target's program goes, by the hash of everything that it depends on.
struct Plan {
    name: String,
    file: String,
    settings: BTreeMap<String, String>,
    sources: Vec<PathBuf>,
    config: String,
    references: References,
    folder: PathBuf,
    partial: PathBuf,
}

impl Plan {
    fn of(target: &Target, place: &Path) -> Result<Self> {
        let mut shared = list_sources(&sources().join("common"))?;
        shared.push(target.source.clone());
        let config = runtime_config(&target.card)?;
        let mut hash = Sha256::new();
        hash.update(compiler::DRIVER);
        hash.update(&config);
        for source in &shared {
            hash.update(source.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(std::fs::read(source).doing("read", source)?);
        }
        let folder =
            place
                .join("apps")
                .join(format!("{}-{}", target.name, &hex(&hash.finalize())[..16]));
        Ok(Self {
            name: target.name.clone(),
            file: target.card.assembly.clone(),
            settings: target.card.settings.clone(),
            sources: shared,
            config,
            references: match target.card.references {
                Oldest::Net31 => References::Net31,
                Oldest::Net8 => References::Net8,
            },
            partial: folder.with_extension("partial"),
            folder,
        })
    }

    fn app(&self) -> App {
        App {
            name: self.name.clone(),
            dll: self.folder.join(format!("{}.dll", self.file)),
            settings: self.settings.clone(),
        }
    }

    fn is_done(&self) -> bool {
        self.app().dll.is_file()
    }

    fn begin(&self) -> Result<()> {
        let _ = std::fs::remove_dir_all(&self.partial);
        std::fs::create_dir_all(&self.partial).doing("create", &self.partial)?;
        let config = self
            .partial
            .join(format!("{}.runtimeconfig.json", self.file));
        std::fs::write(&config, &self.config).doing("write", &config)
    }

    fn job(&self) -> Job {
        Job {
            name: self.name.clone(),
            output: self.output(),
            sources: self.sources.clone(),
            references: self.references,
        }
    }

    fn output(&self) -> PathBuf {
        self.partial.join(format!("{}.dll", self.file))
    }

    /// Gives the folder its real name if the compiler wrote the program.
    fn finish(&self) -> Result<()> {
        if self.output().is_file() {
            let _ = std::fs::remove_dir_all(&self.folder);
            std::fs::rename(&self.partial, &self.folder).doing("move", &self.partial)
        } else {
            let _ = std::fs::remove_dir_all(&self.partial);
            Ok(())
        }
    }
}

fn list_sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .doing("list", folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cs"))
        .collect();
    files.sort();
    Ok(files)
}

fn runtime_config(card: &Card) -> Result<String> {
    let impossible = |error: serde_json::Error| Error::Content {
        path: PathBuf::from("runtimeconfig.json"),
        why: error.to_string(),
    };
    let mut config: serde_json::Value = serde_json::from_str(RUNTIME_CONFIG).map_err(impossible)?;
    if card.references == Oldest::Net8 {
        let options = &mut config["runtimeOptions"];
        options["tfm"] = "net8.0".into();
        options["framework"]["version"] = "8.0.0".into();
    }
    for (name, value) in &card.config {
        config["runtimeOptions"]["configProperties"][name] =
            serde_json::to_value(value).map_err(impossible)?;
    }
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_target_has_a_card_and_a_known_runtime() {
        let mut targets = all().unwrap();
        assert!(targets.iter().any(|target| target.name == "inventory"));
        targets.extend(corpus().unwrap());
        for target in targets {
            assert!(!target.card.about.is_empty(), "{}", target.name);
            assert!(
                Version::ALL.iter().any(|version| target.runs_on(*version)),
                "{} runs nowhere: {:?}",
                target.name,
                target.card.runtimes
            );
        }
    }
}
