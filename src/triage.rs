//! `leakhound triage`: one dump, one diagnosis.

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, ConfigArg};
use crate::terminal::{self, When};
use anyhow::Context;
use clap::ValueEnum;
use leakhound_archive::Archive;
use leakhound_rules::Diagnosis;
use leakhound_rules::{Bytes, FactSheet, Millis};
use leakhound_triage::case::Case;
use leakhound_triage::child::Strings;
use leakhound_triage::diagnose::{self, Judged};
use leakhound_triage::report::{self, Format, Style};
use leakhound_triage::worker::WorkError;
use leakhound_triage::worker::{self, WalkLimits};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Diagnose a dump: who holds the memory, how sure, and what to do.
///
/// FILE is a Linux core (createdump, gcore, the kernel, Leakhound), raw, zstd-compressed or sealed; a bundle folder; or a
/// facts.json.zst whose dump is gone. Nothing else is needed: no runtime, no SOS, no symbols. Where there is a configuration, its
/// folder of rules counts, and the parameters that it has for the service (`[service.rules.RULE]`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound triage core.4711                          in the terminal
  leakhound triage core.4711 --format html > r.html   a page for the ticket
  leakhound triage NEW --baseline OLD                 what grew since OLD
  zcat core.gz | ...                                  gzip is not read in place: unpack it, or use zstd")]
pub struct Args {
    /// The dump, bundle or fact sheet.
    file: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Earlier captures of the same service (dumps, bundles or sheets): shows what grew since.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    baseline: Vec<PathBuf>,
    /// A folder of rules of your own; a rule with the id of a shipped one replaces it. Default: the folder that the configuration
    /// names.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Name of the service, when the dump has no capture.json beside it.
    #[arg(long)]
    service: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// Save the fact sheet to this file; it can be judged again without the dump.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    walk: WalkArgs,
}

/// Options of every command that walks a dump.
#[derive(Debug, Clone, clap::Args)]
pub struct WalkArgs {
    /// Where module files may come from when the dump lacks their pages: `none`, `mapped` (the paths that the dump names,
    /// if they are the same build), or a folder.
    #[arg(long, value_name = "WHERE", default_value = "mapped")]
    modules: String,
    /// Show contents of strings (shortened, secrets scrubbed) instead of length and hash.
    #[arg(long)]
    show_strings: bool,
    /// Memory that the parser may use.
    #[arg(long, value_name = "SIZE", default_value = "4 GB")]
    memory: String,
    /// Time that the parser may take.
    #[arg(long, value_name = "SPAN", default_value = "30 min")]
    time: String,
    /// Show how far the walk is, on standard error.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto,
          num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub progress: When,
}

impl WalkArgs {
    /// The limits as the worker takes them.
    pub fn limits(&self) -> Result<WalkLimits, Failure> {
        let memory: Bytes = self.memory.parse().context("--memory").or_usage()?;
        let time: Millis = self.time.parse().context("--time").or_usage()?;
        Ok(WalkLimits {
            memory_bytes: memory.0,
            time_ms: time.0,
            modules: crate::config::modules(&self.modules),
            strings: if self.show_strings {
                Strings::Scrubbed
            } else {
                Strings::Hashed
            },
        })
    }
}

/// How a diagnosis is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For a terminal.
    Text,
    /// The contract for programs.
    Json,
    /// For a ticket.
    #[value(alias = "markdown")]
    Md,
    /// One self-contained page.
    Html,
}

impl OutputFormat {
    /// As the report crate names it.
    pub fn format(self) -> Format {
        match self {
            Self::Text => Format::Text,
            Self::Json => Format::Json,
            Self::Md => Format::Markdown,
            Self::Html => Format::Html,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let limits = args.walk.limits()?;
    let config = configuration(&args.config)?;
    let rules = open::rules(open::rules_folder(args.rules.as_deref(), config.as_ref()))?;
    let rules = open::service_rules(rules, config.as_ref())?;
    let cancel = open::cancel_on_signal();
    let watch = (&cancel, args.walk.progress);

    let mut earlier = Vec::new();
    for path in &args.baseline {
        earlier.push(sheet_at(path, args.service.as_deref(), &limits, watch)?);
    }
    let case = Case::at(&args.file).or_input()?;
    let sheet = sheet(&case, &args.file, args.service.as_deref(), &limits, watch)?;
    if earlier.is_empty()
        && let Some(bundle) = case.bundle()
        && let Some(archive) = bundle.path().ancestors().nth(2)
        && let Ok(archive) = Archive::open(archive)
    {
        earlier = diagnose::earlier_sheets(&archive, &sheet);
    }
    if let Some(path) = &args.sheet {
        let bytes = serde_json::to_vec_pretty(&sheet).or_input()?;
        std::fs::write(path, bytes)
            .with_context(|| format!("cannot write {}", path.display()))
            .or_input()?;
    }
    let service = args.service.as_ref().unwrap_or(&sheet.subject.service);
    let rules = rules.of(service);
    let judged = diagnose::diagnose(sheet, &earlier, rules);
    if !args.baseline.is_empty() && judged.sheet.get_int("growth.captures").is_none() {
        eprintln!(
            "No baseline is older than {}, so there is no growth to measure: were they swapped?",
            args.file.display()
        );
    }
    print(&judged, args.format, args.output.as_deref())?;
    Ok(exit_of(&judged.diagnosis))
}

/// The agent's, if there is one. A dump can be diagnosed by somebody who may not read the configuration of this machine.
fn configuration(named: &ConfigArg) -> Result<Option<Config>, Failure> {
    match named.load_if_there() {
        Err(problem) if named.is_default() => {
            eprintln!("warning: {problem}; the diagnosis goes without it");
            Ok(None)
        }
        config => config,
    }
}

/// The exit code that a diagnosis means.
pub fn exit_of(diagnosis: &Diagnosis) -> Exit {
    if diagnosis.exit_code() == 0 {
        Exit::Ok
    } else {
        Exit::Findings
    }
}

/// The sheet of whatever lies at `path`, with progress on a terminal.
pub fn sheet_at(
    path: &Path,
    service: Option<&str>,
    limits: &WalkLimits,
    (cancel, progress): (&Arc<AtomicBool>, When),
) -> Result<FactSheet, Failure> {
    let case = Case::at(path).or_input()?;
    sheet(&case, path, service, limits, (cancel, progress))
}

fn sheet(
    case: &Case,
    path: &Path,
    service: Option<&str>,
    limits: &WalkLimits,
    (cancel, progress): (&Arc<AtomicBool>, When),
) -> Result<FactSheet, Failure> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let line = terminal::Line::with(&name.to_string_lossy(), progress);
    let result = worker::sheet_of(case, service, limits, cancel, &mut |step| line.step(step));
    line.done();
    result.map_err(|error| match error {
        // A reason for the user needs the file it is about.
        WorkError::Walk(error) => Failure::of_file(path, error),
        error => Failure::input(error),
    })
}

/// Prints a diagnosis, to a file or to standard output.
pub fn print(judged: &Judged, format: OutputFormat, output: Option<&Path>) -> Result<(), Failure> {
    let style = match output {
        Some(_) => Style::plain(),
        None => open::style(),
    };
    let text = report::render(&judged.diagnosis, &judged.sheet, format.format(), &style);
    match output {
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("cannot write {}", path.display()))
            .or_input(),
        None => {
            let mut out = std::io::stdout().lock();
            // A reader that closed its end (`| head`) has what it wanted.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            Ok(())
        }
    }
}
