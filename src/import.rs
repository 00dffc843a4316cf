//! `leakhound import`: what other tools were told, as a configuration of Leakhound.

mod fabric_observer;

use crate::exit::{Exit, Failure};

/// Turn the settings of another tool into a configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// FabricObserver's AppObserver thresholds
    FabricObserver(fabric_observer::Args),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.source {
        Source::FabricObserver(args) => fabric_observer::run(args),
    }
}
