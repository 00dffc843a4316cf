//! `leakhound rerun`: archived captures judged again by today's rules.

use crate::archive::since;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, ArchiveArg};
use crate::terminal;
use leakhound_archive::Filter;
use leakhound_triage::child::Progress;
use leakhound_triage::rerun::{self, Change, Options, Outcome, Walk};
use std::path::PathBuf;

/// Judge archived captures again with today's rules, and show what changes.
///
/// Works on fact sheets: the dumps may be gone. A dump that is still there is walked again when its sheet lacks a fact that a rule
/// asks for and that its reader did not know. Nothing is changed in the archive unless --write is given; with it, a run that was
/// stopped goes on where it was when it is started again: what was walked is not walked twice. Parameters of rules that the
/// configuration has for a service (`[service.rules.RULE]`) count for its captures.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArg,
    /// Only this service.
    #[arg(long)]
    service: Option<String>,
    /// Only captures of the last span, such as `30 days`.
    #[arg(long, value_name = "SPAN")]
    since: Option<String>,
    /// A folder of rules of your own, laid over the shipped ones; default: the folder that the configuration names.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Replace diagnosis and report of captures whose diagnosis changes.
    #[arg(long)]
    write: bool,
    /// When a dump is walked again.
    #[arg(long, value_enum, default_value_t = WalkAgain::Missing)]
    walk: WalkAgain,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// When a dump is walked again.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WalkAgain {
    /// Never: sheets alone.
    Never,
    /// When its sheet lacks a fact that a rule asks for, and its reader did not know that fact.
    Missing,
    /// Always, where the dump is still there.
    All,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.archive.config.load_if_there()?;
    let rules = open::rules(open::rules_folder(args.rules.as_deref(), config.as_ref()))?;
    let rules = open::service_rules(rules, config.as_ref())?;
    let archive = args.archive.open()?;
    let filter = Filter {
        service: args.service.clone(),
        since: since(args.since.as_deref())?,
        ..Filter::default()
    };
    let bundles = archive.list(&filter).or_input()?.bundles;
    let options = Options {
        write: args.write,
        walk: match args.walk {
            WalkAgain::Never => Walk::Never,
            WalkAgain::Missing => Walk::Missing,
            WalkAgain::All => Walk::All,
        },
        // Limits are the agent's where there is one.
        limits: config
            .map(|config| config.triage.limits())
            .unwrap_or_default(),
        stop: open::cancel_on_signal(),
    };
    let line = terminal::Line::start("rerun");
    let mut totals = Totals::default();
    rerun::rerun(&archive, &bundles, &rules, &options, &mut |share, new| {
        line.hidden(|| {
            for outcome in new {
                totals.add(outcome);
                print(outcome, args.json);
            }
        });
        line.step(&Progress {
            stage: "judging archived captures".to_owned(),
            share,
        });
    });
    line.done();
    let left = bundles.len() - totals.judged - totals.failed;
    if !args.json {
        let wrote = if args.write && totals.changed > 0 {
            ", written"
        } else {
            ""
        };
        println!(
            "{} judged ({} dumps walked again), {} changed{wrote}, {} could not be judged",
            totals.judged, totals.walked, totals.changed, totals.failed
        );
    }
    if left > 0 {
        eprintln!("stopped: {left} of {} were not looked at", bundles.len());
    }
    Ok(if totals.failed == 0 && left == 0 {
        Exit::Ok
    } else {
        Exit::Input
    })
}

#[derive(Default)]
struct Totals {
    judged: usize,
    walked: usize,
    changed: usize,
    failed: usize,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Judged { change, walked, .. } => {
                self.judged += 1;
                self.changed += usize::from(change.is_some());
                self.walked += usize::from(*walked);
            }
            Outcome::Failed { .. } => self.failed += 1,
        }
    }
}

fn print(outcome: &Outcome, json: bool) {
    match outcome {
        Outcome::Judged {
            key,
            change,
            walked,
        } if json => {
            let changed = change.is_some();
            println!(
                "{}",
                serde_json::json!({ "key": key, "changed": changed, "change": change, "walked": walked })
            );
        }
        Outcome::Judged { key, change, .. } => {
            if let Some(change) = change {
                println!("{key}");
                show(change);
            }
        }
        Outcome::Failed { key, reason } if json => {
            println!("{}", serde_json::json!({ "key": key, "failed": reason }));
        }
        Outcome::Failed { key, reason } => println!("{key}\n  could not be judged: {reason}"),
    }
}

fn show(change: &Change) {
    match &change.before {
        Some(before) => println!("  was  {}: {}", before.verdict, before.headline),
        None => println!("  was  not diagnosed"),
    }
    println!("  now  {}: {}", change.after.verdict, change.after.headline);
    for rule in &change.appeared {
        println!("  +    {rule}");
    }
    for rule in &change.disappeared {
        println!("  -    {rule}");
    }
}
