//! `leakhound rules`: what is judged, by what facts, and whether a rule is right.

use crate::backtest;
use crate::exit::{Exit, Failure, OrExit};
use crate::open;
use clap::Subcommand;
use comfy_table::{ContentArrangement, Table};
use leakhound_rules::{RuleSet, catalog};
use std::path::PathBuf;

/// The rules: list, explain, check, test; the facts they may use.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every fact that a rule or a trigger may name, with type, unit and meaning
    Facts {
        /// Only names that contain this.
        filter: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Every rule: id, category, title
    List {
        /// A folder of rules of your own, laid over the shipped ones.
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One rule: when it fires, what it says, how to check it by hand
    Explain {
        /// Id of the rule.
        id: String,
        /// A folder of rules of your own, laid over the shipped ones.
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
    },
    /// Check rules of your own: names, types, units, messages
    Check {
        /// Folder of rules.
        folder: PathBuf,
    },
    /// Run the tests that rules carry
    Test {
        /// Folder of rules; default: the shipped ones.
        folder: Option<PathBuf>,
    },
    /// What new rules would have said about archived captures, and which set is right more often
    Backtest(backtest::Args),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Facts { filter, json } => facts(filter.as_deref(), *json),
        Command::List { rules, json } => list(&open::rules(rules.as_deref())?, *json),
        Command::Explain { id, rules } => explain(&open::rules(rules.as_deref())?, id),
        Command::Check { folder } => {
            let texts = open::rule_texts(folder)?;
            let report = catalog::check(&RuleSet::shipped(), open::named(&texts));
            println!("{report}");
            Ok(if report.passed() {
                Exit::Ok
            } else {
                Exit::Usage
            })
        }
        Command::Backtest(args) => backtest::run(args),
        Command::Test { folder } => {
            let report = match folder {
                Some(folder) => {
                    let texts = open::rule_texts(folder)?;
                    catalog::check(&RuleSet::shipped(), open::named(&texts))
                }
                None => catalog::test_rules(RuleSet::shipped().rules()),
            };
            println!("{report}");
            Ok(if report.passed() {
                Exit::Ok
            } else {
                Exit::Findings
            })
        }
    }
}

fn facts(filter: Option<&str>, json: bool) -> Result<Exit, Failure> {
    let mut rows = catalog::facts();
    if let Some(filter) = filter {
        rows.retain(|row| row.name.contains(filter));
    }
    if json {
        return print_json(&rows);
    }
    let mut table = table(&["fact", "type", "read from", "meaning"]);
    for row in &rows {
        table.add_row([row.name.as_str(), row.kind, row.scope, row.sentence]);
    }
    print_table(&table);
    Ok(Exit::Ok)
}

fn list(set: &RuleSet, json: bool) -> Result<Exit, Failure> {
    let rows = catalog::rules(set);
    if json {
        return print_json(&rows);
    }
    let mut table = table(&["rule", "category", "role", "finds"]);
    for row in &rows {
        table.add_row([row.id.as_str(), row.category, row.role, row.title.as_str()]);
    }
    print_table(&table);
    Ok(Exit::Ok)
}

fn explain(set: &RuleSet, id: &str) -> Result<Exit, Failure> {
    match set.get(id) {
        Some(rule) => {
            println!("{}", catalog::explain(rule));
            Ok(Exit::Ok)
        }
        None => {
            let ids: Vec<&str> = set.rules().map(|r| r.id.as_str()).collect();
            let near = leakhound_rules::diagnostic::nearest(id, ids);
            let hint = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            Err(Failure::usage(anyhow::anyhow!(
                "there is no rule called `{id}`{hint} `leakhound rules list` shows all"
            )))
        }
    }
}

fn print_json(rows: &impl serde::Serialize) -> Result<Exit, Failure> {
    println!("{}", serde_json::to_string_pretty(rows).or_input()?);
    Ok(Exit::Ok)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(open::style().width).unwrap_or(100))
        .set_header(header);
    table
}

fn print_table(table: &Table) {
    use std::io::Write;
    // A reader that closed its end (`| head`) has what it wanted.
    let _ = writeln!(std::io::stdout().lock(), "{table}");
}
