//! `leakhound archive`: what is there, whether it is whole, and what may go.

use crate::exit::{Exit, Failure, OrExit};
use crate::open::ArchiveArg;
use anyhow::Context;
use leakhound_archive::queue::Queue;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, Bundle, Filter, Label, retention};
use leakhound_rules::diagnostic::nearest;
use leakhound_rules::units::{format_bytes, format_duration};
use leakhound_rules::{Category, Diagnosis, Millis};
use std::io::Write;

/// Look into the archive, check it, clean it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List captures, the newest last
    List {
        /// Only this service.
        #[arg(long)]
        service: Option<String>,
        /// Only captures of the last span, such as `7 days`.
        #[arg(long, value_name = "SPAN")]
        since: Option<String>,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one capture: who, when, why, how, and its diagnosis
    Show {
        /// Key, the beginning of it, a path, or `latest`.
        capture: String,
        /// Print the manifest as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that dumps are whole: hashes, sizes, every frame
    Verify {
        /// Key, the beginning of it, a path, or `latest`; default: all.
        capture: Option<String>,
    },
    /// Delete what the retention policy lets go
    Prune {
        /// Say what would go, and delete nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Protect a capture from retention
    Keep {
        /// Key, the beginning of it, a path, or `latest`.
        capture: String,
        /// Why.
        #[arg(long, default_value = "kept by hand")]
        reason: String,
        /// End the protection instead.
        #[arg(long)]
        off: bool,
    },
    /// Say what was really wrong, so that rules can be measured (`leakhound rules backtest`)
    Label {
        /// Key, the beginning of it, a path, or `latest`.
        capture: String,
        /// Categories that are right, the main one first; `healthy` when nothing was wrong.
        #[arg(required_unless_present = "off")]
        category: Vec<String>,
        /// What is to blame, or a part of its name.
        #[arg(long)]
        culprit: Option<String>,
        /// Anything worth remembering.
        #[arg(long)]
        note: Option<String>,
        /// Take the label off instead.
        #[arg(long)]
        off: bool,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let archive = args.archive.open()?;
    match &args.command {
        Command::List {
            service,
            since,
            json,
        } => list(&archive, service.clone(), since.as_deref(), *json),
        Command::Show { capture, json } => show(&archive, capture, *json),
        Command::Verify { capture } => verify(&archive, capture.as_deref()),
        Command::Prune { dry_run } => {
            let policy = match &args.archive.archive {
                // A folder given by hand has the default policy unless a configuration can be read.
                Some(_) => args
                    .archive
                    .config
                    .load()
                    .unwrap_or_default()
                    .archive
                    .policy(),
                None => args.archive.config.load()?.archive.policy(),
            };
            prune(&archive, &policy, *dry_run)
        }
        Command::Keep {
            capture,
            reason,
            off,
        } => {
            let bundle = archive.find(capture).or_input()?;
            if *off {
                archive.unkeep(&bundle).or_input()?;
            } else {
                archive.keep(&bundle, reason).or_input()?;
            }
            Ok(Exit::Ok)
        }
        Command::Label {
            capture,
            category,
            culprit,
            note,
            off,
        } => {
            let bundle = archive.find(capture).or_input()?;
            if *off {
                archive.unlabel(&bundle).or_input()?;
            } else {
                let label = Label {
                    categories: categories(category)?,
                    culprit: culprit.clone(),
                    note: note.clone(),
                };
                archive.label(&bundle, &label).or_input()?;
            }
            Ok(Exit::Ok)
        }
    }
}

/// `healthy`, or names of categories.
fn categories(words: &[String]) -> Result<Vec<String>, Failure> {
    if words == ["healthy"] {
        return Ok(Vec::new());
    }
    for word in words {
        if Category::named(word).is_none() {
            let known = Category::ALL.iter().map(|category| category.name());
            let near = nearest(word, known.chain(["healthy"]));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(Failure::usage(anyhow::anyhow!(
                "`{word}` is no category{hint} `leakhound rules list` shows them, `healthy` stands alone"
            )));
        }
    }
    Ok(words.to_vec())
}

/// `--since 7 days` as a moment.
pub fn since(text: Option<&str>) -> Result<Option<jiff::Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let span: Millis = text.parse().context("--since").or_usage()?;
    let ms = i64::try_from(span.0).unwrap_or(i64::MAX);
    let then = jiff::Timestamp::now().as_millisecond().saturating_sub(ms);
    jiff::Timestamp::from_millisecond(then).map(Some).or_usage()
}

fn headline(bundle: &Bundle) -> String {
    match bundle.read_json::<Diagnosis>(leakhound_archive::bundle::DIAGNOSIS_FILE) {
        Ok(diagnosis) => format!("{}: {}", diagnosis.verdict, diagnosis.headline),
        Err(_) => "not diagnosed yet".to_owned(),
    }
}

fn list(
    archive: &Archive,
    service: Option<String>,
    last: Option<&str>,
    json: bool,
) -> Result<Exit, Failure> {
    let filter = Filter {
        service,
        since: since(last)?,
        ..Filter::default()
    };
    let listing = archive.list(&filter).or_input()?;
    let mut out = std::io::stdout().lock();
    for problem in &listing.problems {
        eprintln!("warning: {problem}");
    }
    for bundle in &listing.bundles {
        let id = bundle.id();
        let written = if json {
            let line = serde_json::json!({
                "key": id.key(), "service": id.service(), "node": id.node(), "pid": id.pid(),
                "captured_at": id.time().to_string(), "stored_bytes": bundle.stored_bytes(),
                "dump_bytes": bundle.dump_bytes(), "kept": bundle.is_kept(), "headline": headline(bundle),
            });
            writeln!(out, "{line}")
        } else {
            writeln!(
                out,
                "{}  {:>9}  {}\n    {}",
                id.time().strftime("%Y-%m-%d %H:%M:%S UTC"),
                format_bytes(bundle.stored_bytes() as f64),
                id.key(),
                headline(bundle)
            )
        };
        if written.is_err() {
            break;
        }
    }
    if listing.bundles.is_empty() && !json {
        eprintln!("no captures in {}", archive.location().display());
    }
    Ok(Exit::Ok)
}

fn show(archive: &Archive, wanted: &str, json: bool) -> Result<Exit, Failure> {
    let bundle = archive.find(wanted).or_input()?;
    let manifest = bundle.manifest().or_input()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&manifest).or_input()?);
        return Ok(Exit::Ok);
    }
    let time = manifest
        .captured_at
        .map_or_else(|| bundle.id().time().to_string(), |t| t.to_string());
    println!("{}  {}", manifest.service, time);
    println!("  {}", headline(&bundle));
    println!("  node {}, pid {}", manifest.node, manifest.pid);
    if let Some(command) = &manifest.command_line {
        println!("  {command}");
    }
    if let Some(trigger) = &manifest.trigger {
        println!("  trigger: {} ({})", trigger.name, trigger.when);
        for evidence in &trigger.evidence {
            println!("    {evidence}");
        }
    }
    print!("  {} by {}", manifest.kind, manifest.method);
    if let Some(pause_ms) = manifest.pause_ms {
        print!(", stopped for {}", format_duration(pause_ms));
    }
    println!();
    if let Some(pair) = &manifest.pair {
        let first = pair.first.as_deref().unwrap_or("this one");
        println!("  {} of a pair, {} after {first}", pair.part, pair.after);
    }
    if let Some(dump) = &manifest.dump {
        println!(
            "  {}: {} from {}",
            dump.file,
            format_bytes(dump.stored_bytes as f64),
            format_bytes(dump.raw_bytes as f64)
        );
    }
    for warning in &manifest.warnings {
        println!("  warning: {warning}");
    }
    if let Some(label) = bundle.label().or_input()? {
        let right = match label.categories.as_slice() {
            [] => "healthy".to_owned(),
            categories => categories.join(", "),
        };
        let culprit = label
            .culprit
            .map_or_else(String::new, |culprit| format!(", {culprit}"));
        println!("  labelled: {right}{culprit}");
    }
    println!("  {}", bundle.path().display());
    Ok(Exit::Ok)
}

fn verify(archive: &Archive, wanted: Option<&str>) -> Result<Exit, Failure> {
    let bundles = match wanted {
        Some(wanted) => vec![archive.find(wanted).or_input()?],
        None => archive.list(&Filter::default()).or_input()?.bundles,
    };
    let mut damaged = 0;
    for bundle in &bundles {
        let result = archive.verify(bundle, &|_, _| {});
        match result {
            Ok(report) if report.problems.is_empty() => println!("whole    {}", bundle.id().key()),
            Ok(report) => {
                damaged += 1;
                println!("damaged  {}", bundle.id().key());
                for problem in report.problems {
                    println!("         {problem}");
                }
            }
            Err(error) => {
                damaged += 1;
                println!("damaged  {}\n         {error}", bundle.id().key());
            }
        }
    }
    println!("{} checked, {damaged} damaged", bundles.len());
    Ok(if damaged == 0 {
        Exit::Ok
    } else {
        Exit::Findings
    })
}

fn prune(archive: &Archive, policy: &retention::Policy, dry_run: bool) -> Result<Exit, Failure> {
    let queue = State::open(archive.location())
        .and_then(Queue::open)
        .or_input()?;
    let in_use = queue
        .unfinished(u32::MAX)
        .or_input()?
        .into_iter()
        .map(|job| job.bundle)
        .collect();
    let plan = archive
        .plan(policy, &in_use, jiff::Timestamp::now())
        .or_input()?;
    for deletion in &plan.deletions {
        let what = match deletion.target {
            retention::Target::Dump => "dump of ",
            retention::Target::Bundle => "",
        };
        let frees = format_bytes(deletion.frees_bytes as f64);
        println!(
            "{frees:>9}  {what}{}\n           {}",
            deletion.key, deletion.reason
        );
    }
    if dry_run {
        println!(
            "{} to delete; nothing was, because of --dry-run",
            plan.deletions.len()
        );
        return Ok(Exit::Ok);
    }
    let pruned = archive.prune(&plan);
    for gone in &pruned.done {
        if gone.target == retention::Target::Bundle {
            queue.forget(&gone.key).or_input()?;
        }
    }
    for problem in &pruned.problems {
        eprintln!("warning: {problem}");
    }
    println!("{} deleted", pruned.done.len());
    Ok(if pruned.problems.is_empty() {
        Exit::Ok
    } else {
        Exit::Input
    })
}
