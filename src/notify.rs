//! `leakhound notify`: try a destination, see what waits, send again what was given up.

use crate::exit::{Exit, Failure, OrExit};
use crate::open::ConfigArg;
use clap::Subcommand;
use leakhound_archive::state::State;
use leakhound_triage::notify::outbox::{Filter, Policy};
use leakhound_triage::notify::{Http, Outbox, sample};
use std::sync::Arc;

/// Try a destination; see what waits to be delivered.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a marked sample, and report exactly what the other side said
    Test {
        /// Name of the destination; default: all.
        name: Option<String>,
    },
    /// List messages: waiting, delivered, given up
    List,
    /// Send given-up messages again
    Revive {
        /// Key of the message, or name of a destination.
        what: String,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let outbox = || -> Result<Outbox, Failure> {
        let state = State::open(&config.archive.location).or_input()?;
        Outbox::open(state, Arc::new(Http::default()), Policy::default()).or_input()
    };
    match &args.command {
        Command::Test { name } => {
            let chosen: Vec<_> = config
                .notify
                .iter()
                .filter(|d| name.as_ref().is_none_or(|n| n == &d.name))
                .collect();
            if chosen.is_empty() {
                let known: Vec<&str> = config.notify.iter().map(|d| d.name.as_str()).collect();
                return Err(Failure::usage(anyhow::anyhow!(
                    "no destination is called `{}`; the configuration has: {}",
                    name.as_deref().unwrap_or_default(),
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                )));
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .or_input()?;
            let http = Http::default();
            let mut ok = true;
            for to in chosen {
                let report = runtime.block_on(sample::send(to, &http, jiff::Timestamp::now()));
                println!("{report}");
                ok &= report.is_ok();
            }
            Ok(if ok { Exit::Ok } else { Exit::Findings })
        }
        Command::List => {
            for entry in outbox()?.list(&Filter::default()).or_input()? {
                println!(
                    "{}  {:<9} {:<16} {}\n    {}  {}",
                    entry.planned_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                    entry.state.name(),
                    entry.destination,
                    entry.title,
                    entry.key,
                    entry.last_reply.as_deref().unwrap_or_default(),
                );
            }
            Ok(Exit::Ok)
        }
        Command::Revive { what } => {
            let n = outbox()?.revive(what, jiff::Timestamp::now()).or_input()?;
            println!("{n} will be sent again");
            Ok(Exit::Ok)
        }
    }
}
