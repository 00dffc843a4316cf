//! `leakhound rules backtest`: what new rules would have said about the captures that are archived.

use crate::archive::since;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, ArchiveArg};
use crate::terminal;
use comfy_table::Table;
use leakhound_archive::Filter;
use leakhound_rules::units::format_ratio;
use leakhound_triage::backtest::{self, Said, Tally, Tried};
use leakhound_triage::child::Progress;
use std::path::PathBuf;

/// Judge archived captures by the rules in force and by new ones, and show what would change; nothing is written.
///
/// Where captures are labelled (`leakhound archive label`), it also shows how often each set is right: precision is the share of
/// what is said first that is right, recall the share of what is there that is said first. Parameters of rules that the
/// configuration has for a service (`[service.rules.RULE]`) count for its captures, under both sets.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new rules: a folder, laid over the shipped ones.
    #[arg(long, value_name = "DIR")]
    rules: PathBuf,
    /// The rules in force: a folder, laid over the shipped ones; default: the folder that the configuration names, or the shipped
    /// ones alone.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    #[command(flatten)]
    archive: ArchiveArg,
    /// Only this service.
    #[arg(long)]
    service: Option<String>,
    /// Only captures of the last span, such as `30 days`.
    #[arg(long, value_name = "SPAN")]
    since: Option<String>,
    /// Print one JSON object a line, one for each capture.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.archive.config.load_if_there()?;
    let against = open::rules_folder(args.against.as_deref(), config.as_ref());
    let after = open::service_rules(open::rules(Some(&args.rules))?, config.as_ref())?;
    let before = open::service_rules(open::rules(against)?, config.as_ref())?;
    let archive = args.archive.open()?;
    let filter = Filter {
        service: args.service.clone(),
        since: since(args.since.as_deref())?,
        ..Filter::default()
    };
    let bundles = archive.list(&filter).or_input()?.bundles;
    let stop = open::cancel_on_signal();
    let line = terminal::Line::start("backtest");
    let outcomes = backtest::backtest(&archive, &bundles, &before, &after, &stop, &mut |share| {
        line.step(&Progress {
            stage: "judging archived sheets".to_owned(),
            share,
        });
    });
    line.done();
    let mut tried = Vec::new();
    let mut failed = 0;
    for outcome in outcomes {
        match outcome {
            Ok(one) => tried.push(one),
            Err((key, reason)) => {
                failed += 1;
                eprintln!("{key}: {reason}");
            }
        }
    }
    if args.json {
        for one in &tried {
            println!("{}", serde_json::to_string(one).or_input()?);
        }
    } else {
        show(&tried);
        println!(
            "{} judged, {} change, {failed} could not be judged",
            tried.len(),
            tried.iter().filter(|one| one.changed()).count()
        );
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Input })
}

fn show(tried: &[Tried]) {
    for one in tried.iter().filter(|one| one.changed()) {
        let labelled = match &one.label {
            None => String::new(),
            Some(label) => {
                let right = |said: &Said| if said.agrees(label) { "right" } else { "wrong" };
                format!(" (was {}, is {})", right(&one.before), right(&one.after))
            }
        };
        println!("{}{labelled}", one.key);
        println!("  was  {}", sentence(&one.before));
        println!("  now  {}", sentence(&one.after));
    }
    let labelled = tried.iter().filter(|one| one.label.is_some()).count();
    if labelled == 0 {
        println!(
            "No capture is labelled: `leakhound archive label CAPTURE CATEGORY` says what is right."
        );
        return;
    }
    let before = backtest::measure(tried, |one| &one.before);
    let after = backtest::measure(tried, |one| &one.after);
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header([
        "category",
        "precision",
        "recall",
        "precision now",
        "recall now",
    ]);
    for category in backtest::categories(&[&before, &after]) {
        let (was, is) = (
            before.get(category).copied().unwrap_or_default(),
            after.get(category).copied().unwrap_or_default(),
        );
        let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), format_ratio);
        let cells = |tally: &Tally| [share(tally.precision()), share(tally.recall())];
        let mut row = vec![category.to_owned()];
        row.extend(cells(&was));
        row.extend(cells(&is));
        table.add_row(row);
    }
    println!("{labelled} of {} are labelled:\n{table}", tried.len());
}

fn sentence(said: &Said) -> String {
    match said.findings.first() {
        Some((category, culprit)) => format!("{}: {category}, {culprit}", said.verdict),
        None => format!("{}: {}", said.verdict, said.headline),
    }
}
