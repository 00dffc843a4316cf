//! `leakhound notify`: try a destination, see what waits, send again what was given up.

use crate::exit::{Exit, Failure, OrExit};
use crate::open::ConfigArg;
use clap::Subcommand;
use jiff::Timestamp;
use leakhound_archive::state::{STATE_FILE, State};
use leakhound_rules::diagnostic::nearest;
use leakhound_triage::notify::outbox::{Entry, EntryState, Filter, Policy};
use leakhound_triage::notify::{DestinationConfig, Http, Outbox, sample};
use std::sync::Arc;

/// Try a destination; see what waits to be delivered.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound notify test cart-oncall            a sample to one destination, in its own words where it has a template
  leakhound notify list --state planned        what waits: for its time, for quiet hours to end, for a digest
  leakhound notify list --state dead           what was given up, and why
  leakhound notify revive cart-oncall          send that again

Everything that is to be said is kept on disk until the other side has it. What could not be delivered for three days, or
was refused, is a dead letter: `leakhound doctor` shows those too.")]
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
    /// List messages, the newest first: waiting, delivered, given up
    #[command(visible_alias = "outbox")]
    List {
        /// Only those that stand here.
        #[arg(long, value_enum)]
        state: Option<Stands>,
        /// Only those for this destination.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Send given-up messages again
    Revive {
        /// Key of the message, or name of a destination.
        what: String,
    },
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Stands {
    /// Waits for its time
    Planned,
    /// An attempt is under way
    Sending,
    /// The other side took it
    Sent,
    /// The other side says it has it
    Confirmed,
    /// Given up
    Dead,
}

impl From<Stands> for EntryState {
    fn from(stands: Stands) -> Self {
        match stands {
            Stands::Planned => EntryState::Planned,
            Stands::Sending => EntryState::Sending,
            Stands::Sent => EntryState::Sent,
            Stands::Confirmed => EntryState::Confirmed,
            Stands::Dead => EntryState::Dead,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    // Without a state there was no agent yet, and nothing waits; looking makes none.
    let outbox = || -> Result<Option<Outbox>, Failure> {
        if !config.archive.location.join(STATE_FILE).is_file() {
            return Ok(None);
        }
        let state = State::open(&config.archive.location).or_input()?;
        let outbox = Outbox::open(state, Arc::new(Http::default()), Policy::default());
        outbox.or_input().map(Some)
    };
    match &args.command {
        Command::Test { name } => {
            let chosen: Vec<_> = config
                .notify
                .iter()
                .filter(|d| name.as_ref().is_none_or(|n| n == &d.name))
                .collect();
            if chosen.is_empty() {
                return Err(Failure::usage(anyhow::anyhow!(unknown(
                    name.as_deref(),
                    &config.notify
                ))));
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .or_input()?;
            let http = Http::default();
            let mut ok = true;
            for to in chosen {
                let report = runtime.block_on(sample::send(to, &http, Timestamp::now()));
                println!("{report}");
                ok &= report.is_ok();
            }
            Ok(if ok { Exit::Ok } else { Exit::Findings })
        }
        Command::List {
            state,
            destination,
            limit,
        } => {
            let filter = Filter {
                state: state.map(EntryState::from),
                destination: destination.clone(),
                limit: *limit,
                ..Filter::default()
            };
            let entries = match outbox()? {
                Some(outbox) => outbox.list(&filter).or_input()?,
                None => Vec::new(),
            };
            if entries.is_empty() {
                println!("No message.");
            }
            entries.iter().for_each(print);
            Ok(Exit::Ok)
        }
        Command::Revive { what } => {
            let n = match outbox()? {
                Some(outbox) => outbox.revive(what, Timestamp::now()).or_input()?,
                None => 0,
            };
            println!("{n} will be sent again");
            Ok(Exit::Ok)
        }
    }
}

fn unknown(name: Option<&str>, known: &[DestinationConfig]) -> String {
    let Some(name) = name else {
        return "the configuration has no [[notify]]: there is nobody to tell".to_owned();
    };
    let names = || known.iter().map(|to| to.name.as_str());
    match nearest(name, names()) {
        Some(near) => format!("no destination is called `{name}`; did you mean `{near}`?"),
        None if known.is_empty() => {
            format!("no destination is called `{name}`; the configuration has none")
        }
        None => {
            let names: Vec<&str> = names().collect();
            let names = names.join(", ");
            format!("no destination is called `{name}`; the configuration has: {names}")
        }
    }
}

fn print(entry: &Entry) {
    let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    println!(
        "{}  {:<9} {:<16} {}",
        time(entry.planned_at),
        entry.state.name(),
        entry.destination,
        entry.title
    );
    let mut details = vec![entry.key.clone()];
    if entry.n_attempts > 0 {
        details.push(format!("attempt {}", entry.n_attempts));
    }
    details.extend(entry.next_at.map(|at| format!("not before {}", time(at))));
    details.extend(entry.last_reply.clone());
    println!("    {}", details.join("  "));
}
