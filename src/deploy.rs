//! `leakhound deploy`: writes what installs the agent elsewhere.

mod service_fabric;

use crate::exit::{Exit, Failure};

/// Write what installs the agent on many machines.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Target {
    /// A Service Fabric application package, and scripts that install, upgrade and remove it
    ServiceFabric(service_fabric::Args),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.target {
        Target::ServiceFabric(args) => service_fabric::run(args),
    }
}
