//! `leakhound capture`: a running process, now.

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, DEFAULT_CONFIG};
use crate::terminal;
use crate::triage::{OutputFormat, exit_of, print};
use anyhow::Context;
use clap::ValueEnum;
use leakhound_archive::{Archive, Bundle, Manifest};
use leakhound_collector::capture::{Cancel, Progress, Step};
use leakhound_collector::config::{Kind, MethodChoice};
use leakhound_collector::discover;
use leakhound_collector::identity::Identity;
use leakhound_collector::seal::{Place, capture_once};
use leakhound_rules::RuleSet;
use leakhound_rules::units::{format_bytes, format_duration};
use leakhound_triage::worker;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Capture a running process now: its threads stand still for milliseconds, and the dump is compressed from the first byte.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound capture 4711                      into the archive, and diagnose it
  leakhound capture --process Shop.Cart       by name: assembly, executable or comm
  leakhound capture 4711 --out . --no-triage  only the bundle, here")]
pub struct Args {
    /// Process id.
    #[arg(required_unless_present = "process")]
    pid: Option<u32>,
    /// Process by name, when only one has it.
    #[arg(long, conflicts_with = "pid")]
    process: Option<String>,
    /// Folder to archive in; default: the configuration's archive, or the current folder when there is none.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Service to archive it under; default: the process's name.
    #[arg(long)]
    service: Option<String>,
    /// What the dump holds.
    #[arg(long, value_enum, default_value_t = DumpKind::Heap)]
    kind: DumpKind,
    /// How it is taken; default: the configuration's choice, which is the first that works.
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Why, for the record.
    #[arg(long, default_value = "asked for by hand")]
    reason: String,
    /// Do not diagnose it.
    #[arg(long)]
    no_triage: bool,
    /// How to print the diagnosis.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// The agent's configuration, for its archive and its `[capture]` limits.
    #[arg(long, short, value_name = "FILE", env = "LEAKHOUND_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DumpKind {
    /// All writable memory and module metadata.
    Heap,
    /// Every readable page.
    Full,
    /// As heap, without the contents of strings and primitive arrays.
    Structure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The first that works of those below.
    Auto,
    /// Stopped for milliseconds, written from a copy-on-write copy.
    Snapshot,
    /// Stopped while the memory is read.
    StopAndStream,
    /// The runtime's own dump, asked for over its diagnostics socket.
    Runtime,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).or_usage()?,
        None if PathBuf::from(DEFAULT_CONFIG).is_file() => {
            Config::load(DEFAULT_CONFIG.as_ref()).or_usage()?
        }
        None => {
            let mut config = Config::default();
            config.archive.location = PathBuf::from(".");
            config
        }
    };
    if let Some(method) = args.method {
        config.capture.method = match method {
            Method::Auto => MethodChoice::Auto,
            Method::Snapshot => MethodChoice::Snapshot,
            Method::StopAndStream => MethodChoice::StopAndStream,
            Method::Runtime => MethodChoice::Runtime,
        };
    }
    let target = find(args)?;
    let location = args.out.as_ref().unwrap_or(&config.archive.location);
    let archive = Archive::open_or_create(location).or_input()?;
    let stopped = open::cancel_on_signal();
    let (bundle, manifest) = take(args, &config, &archive, &target, &stopped)?;
    if !matches!(args.format, OutputFormat::Json) {
        tell(&bundle, &manifest);
    }
    if args.no_triage {
        return Ok(Exit::Ok);
    }
    let rules = open::rules(config.triage.rules.as_deref()).unwrap_or_else(|problem| {
        eprintln!("warning: {problem}; the shipped rules are used");
        RuleSet::shipped()
    });
    let line = terminal::Line::start("reading the heap");
    let judged = worker::work(
        &archive,
        &bundle,
        &rules,
        &config.triage.limits(),
        &stopped,
        &mut |step| line.step(step),
    );
    line.done();
    let judged = judged.or_input()?;
    print(&judged, args.format, None)?;
    Ok(exit_of(&judged.diagnosis))
}

fn find(args: &Args) -> Result<Identity, Failure> {
    if let Some(pid) = args.pid {
        return discover::one(pid)
            .with_context(|| {
                format!("process {pid} cannot be looked at; is it running, and may you see it?")
            })
            .or_input();
    }
    let name = args.process.as_deref().unwrap_or_default();
    let own = std::process::id();
    let mut found: Vec<Identity> = discover::all()
        .into_iter()
        .filter(|p| p.pid != own && (p.name == name || p.comm == name))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::input(anyhow::anyhow!(
            "no process is called `{name}`; `leakhound doctor` lists the .NET processes it sees"
        ))),
        n => {
            let pids: Vec<String> = found.iter().map(|p| p.pid.to_string()).collect();
            Err(Failure::input(anyhow::anyhow!(
                "{n} processes are called `{name}`: {}; give the process id",
                pids.join(", ")
            )))
        }
    }
}

fn take(
    args: &Args,
    config: &Config,
    archive: &Archive,
    target: &Identity,
    stopped: &Arc<AtomicBool>,
) -> Result<(Bundle, Manifest), Failure> {
    let line = terminal::Line::start(&format!("capturing {}", target.name));
    let cancel = Cancel::default();
    // The capture polls its own flag; a signal raises ours.
    let finished = Arc::new(AtomicBool::new(false));
    let (watched, until, raised) = (cancel.clone(), finished.clone(), stopped.clone());
    std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            if raised.load(Ordering::Relaxed) {
                watched.cancel();
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let kind = match args.kind {
        DumpKind::Heap => Kind::Heap,
        DumpKind::Full => Kind::Full,
        DumpKind::Structure => Kind::Structure,
    };
    let place = Place {
        archive,
        queue: None,
        config: &config.capture,
    };
    let result = capture_once(
        place,
        target,
        args.service.as_deref(),
        kind,
        &args.reason,
        &cancel,
        &mut |progress: Progress| line.step(&as_step(progress)),
    );
    finished.store(true, Ordering::Relaxed);
    line.done();
    result.or_input()
}

fn as_step(progress: Progress) -> leakhound_triage::child::Progress {
    let stage = match progress.step {
        Step::Stopping => "stopping its threads",
        Step::Writing => "copying memory; the process stands still",
        Step::Copying => "copying the snapshot; the process runs",
        Step::Resumed => "the process runs again; copying files",
        Step::Sealing => "sealing",
    };
    leakhound_triage::child::Progress {
        stage: stage.to_owned(),
        share: progress.done_bytes as f64 / progress.total_bytes.max(1) as f64,
    }
}

fn tell(bundle: &Bundle, manifest: &Manifest) {
    let sizes = manifest.dump.as_ref().map_or_else(String::new, |dump| {
        format!(
            "{} from {}, ",
            format_bytes(dump.stored_bytes as f64),
            format_bytes(dump.raw_bytes as f64)
        )
    });
    let pause = manifest.pause_ms.map_or_else(String::new, |pause_ms| {
        format!("stopped for {}, ", format_duration(pause_ms))
    });
    eprintln!("{sizes}{pause}{}", bundle.path().display());
    for warning in &manifest.warnings {
        eprintln!("warning: {warning}");
    }
}
