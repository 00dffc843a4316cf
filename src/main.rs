//! The `leakhound` command: watches .NET services, captures a dump when memory goes wrong, and names the cause.
//!
//! This file reads arguments and turns results into exit codes; each subcommand is one file.

mod archive;
mod backtest;
mod capture;
mod config;
mod config_source;
mod demo;
mod deploy;
mod doctor;
mod exit;
mod fabric;
mod heap;
mod import;
mod incidents;
mod manager;
mod metrics;
mod notify;
mod open;
mod procdump;
mod rerun;
mod rules;
mod run;
#[cfg(windows)]
mod service;
mod telemetry;
mod terminal;
mod triage;
mod walker;
mod watch;

use clap::{Parser, Subcommand};
use exit::Exit;
use std::process::ExitCode;

/// Watches .NET services, captures a compressed dump when memory goes wrong, reads the managed heap, and names the
/// cause.
#[derive(Debug, Parser)]
#[command(
    name = "leakhound",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Start here:
  leakhound demo                         see the whole thing work on a leaking service, in two minutes
  leakhound doctor                       what will not work on this machine, and what to do about it
  leakhound triage memory.core.zst       diagnose a dump that you already have
  leakhound watch 4711                   live values of a running process, and which triggers would fire
  leakhound capture 4711                 capture a running process now, and diagnose it
  leakhound run --config leakhound.toml  the agent: watch, capture, diagnose, deliver

Exit codes: 0 healthy or not a leak, 1 findings of warning or above, 2 usage or configuration,
3 the input could not be read."
)]
struct Cli {
    /// What to log: error, warn, info, debug, trace, or a filter such as `leakhound_collector=debug`.
    #[arg(long, global = true, env = "LEAKHOUND_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Log as one JSON object a line.
    #[arg(long, global = true, env = "LEAKHOUND_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The agent: watches services, captures, diagnoses, delivers
    Run(run::Args),
    /// Live values, and which triggers would fire; captures nothing
    Watch(watch::Args),
    /// The agent as a Windows service: install, start, stop, uninstall
    #[cfg(windows)]
    Service(service::Args),
    /// Capture a running process now
    Capture(capture::Args),
    /// Diagnose a dump: what holds the memory, and what to do
    Triage(triage::Args),
    /// Look into a heap: types, generations, statics, handles, finalizers, threads, modules, memory map
    Heap(heap::Args),
    /// What goes on: one incident for each cause and service, over all nodes; mute, resolve
    Incidents(incidents::Args),
    /// Judge archived captures again with today's rules, most without their dumps
    Rerun(rerun::Args),
    /// Look into the archive, check it, clean it
    Archive(archive::Args),
    /// The rules: list, explain, check, test; the facts they may use
    Rules(rules::Args),
    /// Try a destination
    Notify(notify::Args),
    /// Write what installs the agent on many machines
    Deploy(deploy::Args),
    /// Turn the settings of another tool into a configuration
    Import(import::Args),
    /// What will not work on this machine, and why
    Doctor(doctor::Args),
    /// See it work: a leaking service, captured and diagnosed before your eyes
    Demo(demo::Args),
}

/// This same program as the one that lets a stopped target go when the first one dies.
#[cfg(windows)]
fn let_go() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let is_meant = arguments.next()? == leakhound_collector::windows::LET_GO_ARGUMENT;
    is_meant.then(|| ExitCode::from(leakhound_collector::windows::let_go(arguments)))
}

fn start_log(cli: &Cli) -> anyhow::Result<()> {
    #[cfg(windows)]
    if let Command::Service(args) = &cli.command
        && args.is_service()
    {
        return service::log(cli.log.as_deref());
    }
    let agent = matches!(cli.command, Command::Run(_));
    telemetry::start(cli.log.as_deref(), cli.log_json, agent)
}

fn main() -> ExitCode {
    // The parser child is this same program; it must not read arguments, open logs or start threads it does not need.
    if std::env::args_os().nth(1).as_deref()
        == Some(std::ffi::OsStr::new(
            leakhound_triage::child::CHILD_ARGUMENT,
        ))
    {
        return ExitCode::from(leakhound_triage::child::serve());
    }
    #[cfg(windows)]
    if let Some(exit) = let_go() {
        return exit;
    }
    let arguments = match procdump::translate(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(failure) => {
            eprintln!("error: {failure}");
            return failure.exit().into();
        }
    };
    let cli = Cli::parse_from(arguments);
    if let Err(problem) = start_log(&cli) {
        eprintln!("error: {problem}");
        return Exit::Usage.into();
    }
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Watch(args) => watch::run(&args),
        #[cfg(windows)]
        Command::Service(args) => service::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Triage(args) => triage::run(&args),
        Command::Heap(args) => heap::run(&args),
        Command::Incidents(args) => incidents::run(&args),
        Command::Rerun(args) => rerun::run(&args),
        Command::Archive(args) => archive::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Notify(args) => notify::run(&args),
        Command::Deploy(args) => deploy::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(&args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit().into()
        }
    }
}
