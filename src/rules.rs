//! `leakhound rules`: what is judged, by what facts, and whether a rule is right.

use crate::exit::{Exit, Failure};
use crate::open;
use clap::Subcommand;
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
}
