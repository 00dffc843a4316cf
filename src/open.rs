//! What several subcommands open the same way: rules, the archive, the configuration; and how they stop.

use crate::config::Config;
use crate::exit::{Failure, OrExit};
use anyhow::Context;
use leakhound_archive::Archive;
use leakhound_rules::RuleSet;
use leakhound_triage::report::{ColorChoice, Style};
use leakhound_triage::service_rules::ServiceRules;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the agent's configuration lies when nobody says.
#[cfg(not(windows))]
pub const DEFAULT_CONFIG: &str = "/etc/leakhound/leakhound.toml";
/// Where the agent's configuration lies when nobody says.
#[cfg(windows)]
pub const DEFAULT_CONFIG: &str = r"C:\ProgramData\Leakhound\leakhound.toml";
/// More rule files than this in one folder is a wrong folder.
const RULE_FILES_LIMIT: usize = 2_000;
/// A rule is a page of text.
const RULE_FILE_LIMIT_BYTES: u64 = 256 << 10;

/// `--config`, for every subcommand that works on an installed agent's data.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArg {
    /// The agent's configuration.
    #[arg(long, short, value_name = "FILE", env = "LEAKHOUND_CONFIG", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

impl ConfigArg {
    /// Reads it.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.config).or_usage()
    }

    /// Reads it where there is one: an archive can be worked on where no agent is installed.
    pub fn load_if_there(&self) -> Result<Option<Config>, Failure> {
        // One that was named must be there.
        if self.is_default() && !self.config.exists() {
            return Ok(None);
        }
        self.load().map(Some)
    }

    /// Nobody named one.
    pub fn is_default(&self) -> bool {
        self.config == Path::new(DEFAULT_CONFIG)
    }
}

/// Where the archive is: named, or as the configuration says.
#[derive(Debug, Clone, clap::Args)]
pub struct ArchiveArg {
    /// The archive folder; default: `[archive] location` of the configuration.
    #[arg(long, value_name = "DIR", env = "LEAKHOUND_ARCHIVE")]
    pub archive: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArg,
}

impl ArchiveArg {
    /// Opens it.
    pub fn open(&self) -> Result<Archive, Failure> {
        let location = match &self.archive {
            Some(location) => location.clone(),
            None => self
                .config
                .load()
                .map_err(|error| {
                    Failure::usage(anyhow::anyhow!(
                        "no --archive was given, and the configuration does not say: {error}"
                    ))
                })?
                .archive
                .location
                .clone(),
        };
        Archive::open(&location).or_input()
    }
}

/// The folder of rules that was named, or else the one of the configuration.
pub fn rules_folder<'a>(named: Option<&'a Path>, config: Option<&'a Config>) -> Option<&'a Path> {
    named.or_else(|| config?.triage.rules.as_deref())
}

/// The shipped rules, with the ones in `folder` laid over them.
pub fn rules(folder: Option<&Path>) -> Result<RuleSet, Failure> {
    let Some(folder) = folder else {
        return Ok(RuleSet::shipped());
    };
    let texts = rule_texts(folder)?;
    RuleSet::shipped()
        .overlay(named(&texts))
        .map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::usage(anyhow::anyhow!("{}", problems.join("\n\n")))
        })
}

/// Those rules with the parameters that the configuration has for single services.
pub fn service_rules(rules: RuleSet, config: Option<&Config>) -> Result<ServiceRules, Failure> {
    let services = config.map(|config| config.service.as_slice());
    let parameters = services
        .unwrap_or_default()
        .iter()
        .filter(|service| !service.rules.is_empty())
        .map(|service| (service.name.text.as_str(), &service.rules));
    ServiceRules::new(rules, parameters).map_err(|problems| {
        let problems: Vec<String> = problems
            .iter()
            .map(|(service, problem)| format!("[service.rules] of {service}: {problem}"))
            .collect();
        Failure::usage(anyhow::anyhow!("{}", problems.join("\n\n")))
    })
}

/// Texts with their names as the rules crate takes them.
pub fn named(texts: &[(PathBuf, String)]) -> impl Iterator<Item = (&str, &str)> {
    texts
        .iter()
        .map(|(path, text)| (path.to_str().unwrap_or("?"), text.as_str()))
}

/// Every `.toml` under `folder`, by name.
pub fn rule_texts(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read the rules in {}", folder.display()))
            .or_usage()?;
        for entry in entries {
            let path = entry.or_usage()?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "toml") {
                let about = || format!("cannot read the rule {}", path.display());
                let size = std::fs::metadata(&path)
                    .with_context(about)
                    .or_usage()?
                    .len();
                if size > RULE_FILE_LIMIT_BYTES || texts.len() >= RULE_FILES_LIMIT {
                    return Err(Failure::usage(anyhow::anyhow!(
                        "{}: a rule file has at most {RULE_FILE_LIMIT_BYTES} bytes and a folder at most {RULE_FILES_LIMIT} of them",
                        path.display()
                    )));
                }
                let text = std::fs::read_to_string(&path)
                    .with_context(about)
                    .or_usage()?;
                texts.push((path, text));
            }
        }
    }
    if texts.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} holds no rule: a rule is a file that ends in .toml",
            folder.display()
        )));
    }
    texts.sort();
    Ok(texts)
}

/// A flag that Ctrl-C and SIGTERM raise; a second signal ends the process at once.
pub fn cancel_on_signal() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    let raised = cancel.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            stop_signal().await;
            raised.store(true, Ordering::Relaxed);
            stop_signal().await;
            std::process::exit(130);
        });
    });
    cancel
}

/// Returns when somebody asks the program to stop.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    #[cfg(windows)]
    {
        use tokio::signal::windows::{ctrl_break, ctrl_close, ctrl_shutdown};
        if let (Ok(mut interrupt), Ok(mut close), Ok(mut shutdown)) =
            (ctrl_break(), ctrl_close(), ctrl_shutdown())
        {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = close.recv() => {}
                _ = shutdown.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// How text looks on standard output.
pub fn style() -> Style {
    Style::for_stdout(ColorChoice::Auto)
}
