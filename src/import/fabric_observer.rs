//! `leakhound import fabric-observer`: AppObserver's thresholds as services with triggers.
//!
//! FabricObserver watches the same things on the same nodes; who changes over has thresholds that were found with care. What can
//! be said in both is taken over, and what cannot is named, in the file and on the terminal: nothing is lost in silence.

mod json;
mod metric;
mod services;
mod settings;

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use anyhow::{Context, ensure};
use json::Entry;
use settings::Settings;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Such files have some kilobytes.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// Turn FabricObserver's AppObserver thresholds into services with triggers.
///
/// Takes AppObserver.config.json and, for the limits on dumps, ApplicationManifest.xml, Settings.xml or a file of application
/// parameters, in any order. What has no counterpart is named in comments of the result and on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound import fabric-observer AppObserver.config.json
  leakhound import fabric-observer AppObserver.config.json ApplicationManifest.xml --out leakhound.toml
  leakhound deploy service-fabric --out pkg --config leakhound.toml")]
pub struct Args {
    /// AppObserver.config.json; ApplicationManifest.xml, Settings.xml or application parameters.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write; default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What could not be taken over, one sentence each.
#[derive(Debug, Default)]
pub struct LeftOut(Vec<String>);

impl LeftOut {
    fn push(&mut self, sentence: String) {
        if !self.0.contains(&sentence) {
            self.0.push(sentence);
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut left_out = LeftOut::default();
    let mut entries = Vec::new();
    let mut settings = Settings::default();
    let mut seen_json = false;
    for path in &args.files {
        let text = read(path).or_input()?;
        let about = || format!("{} is no configuration of FabricObserver", path.display());
        match text.trim_start().chars().next() {
            Some('<') => settings.read(&text).with_context(about).or_input()?,
            _ => {
                entries.extend(
                    json::read(&text, &mut left_out)
                        .with_context(about)
                        .or_input()?,
                );
                seen_json = true;
            }
        }
    }
    if !seen_json {
        return Err(Failure::usage(anyhow::anyhow!(
            "name AppObserver.config.json too: the thresholds of services stand there"
        )));
    }
    let toml = translate(&entries, &settings, &mut left_out);
    // Ours to get right: the agent would refuse what is not.
    Config::parse(&toml, Path::new("leakhound.toml")).or_input()?;
    match &args.out {
        Some(path) => {
            fs::write(path, &toml)
                .with_context(|| format!("cannot write {}", path.display()))
                .or_usage()?;
            println!("{} is written.", path.display());
        }
        None => print!("{toml}"),
    }
    for sentence in &left_out.0 {
        eprintln!("warning: {sentence}");
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let about = || format!("cannot read {}", path.display());
    let size = fs::metadata(path).with_context(about)?.len();
    ensure!(
        size <= FILE_LIMIT_BYTES,
        "{}: expected at most {FILE_LIMIT_BYTES} bytes, found {size}",
        path.display()
    );
    let text = fs::read_to_string(path).with_context(about)?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// The whole file.
fn translate(entries: &[Entry], settings: &Settings, left_out: &mut LeftOut) -> String {
    let capture = settings.capture(left_out);
    let services = services::of(entries, &capture, left_out);
    let mut out = String::from(
        "# Thresholds of FabricObserver's AppObserver, imported by Leakhound. Where FabricObserver only reported, Leakhound\n\
         # captures and diagnoses; limits and cool-downs keep that rare. Every key there is: deploy/config/leakhound.toml.\n",
    );
    if !left_out.0.is_empty() {
        out.push_str("#\n# Not taken over:\n");
        for sentence in &left_out.0 {
            let _ = writeln!(out, "#   {}", sentence.replace('\n', " "));
        }
    }
    for service in &services {
        out.push('\n');
        service.write(&mut out);
    }
    out
}
