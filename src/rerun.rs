//! `leakhound rerun`: archived sheets judged again by today's rules, without their dumps.

use crate::archive::since;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, ArchiveArg};
use crate::terminal;
use leakhound_archive::Filter;
use leakhound_triage::child::Progress;
use leakhound_triage::rerun::{self, Change, Outcome};
use std::path::PathBuf;

/// Judge archived captures again with today's rules, and show what changes.
///
/// Works on fact sheets: the dumps may be gone. Nothing is changed in the archive unless --write is given.
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
    /// A folder of rules of your own, laid over the shipped ones.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Replace diagnosis and report of captures whose diagnosis changes.
    #[arg(long)]
    write: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let rules = open::rules(args.rules.as_deref())?;
    let archive = args.archive.open()?;
    let filter = Filter {
        service: args.service.clone(),
        since: since(args.since.as_deref())?,
        ..Filter::default()
    };
    let bundles = archive.list(&filter).or_input()?.bundles;
    let line = terminal::Line::start("rerun");
    let outcomes = rerun::rerun(&archive, &bundles, &rules, args.write, &mut |share| {
        line.step(&Progress {
            stage: "judging archived sheets".to_owned(),
            share,
        });
    });
    line.done();

    let (mut changed, mut failed, mut judged) = (0, 0, 0);
    for outcome in &outcomes {
        match outcome {
            Outcome::Judged { key, change } => {
                judged += 1;
                changed += usize::from(change.is_some());
                if args.json {
                    println!(
                        "{}",
                        serde_json::json!({ "key": key, "changed": change.is_some(), "change": change })
                    );
                } else if let Some(change) = change {
                    println!("{key}");
                    show(change);
                }
            }
            Outcome::Failed { key, reason } => {
                failed += 1;
                if args.json {
                    println!("{}", serde_json::json!({ "key": key, "failed": reason }));
                } else {
                    println!("{key}\n  could not be judged: {reason}");
                }
            }
        }
    }
    if !args.json {
        let wrote = if args.write && changed > 0 {
            ", written"
        } else {
            ""
        };
        println!("{judged} judged, {changed} changed{wrote}, {failed} could not be judged");
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Input })
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
