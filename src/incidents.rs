//! `leakhound incidents`: what goes on, what was silenced, what is over.

use crate::archive::since;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::ArchiveArg;
use jiff::Timestamp;
use leakhound_archive::state::State;
use leakhound_rules::Millis;
use leakhound_rules::units::{format_bytes, format_duration};
use leakhound_triage::incidents::{
    Incident, Incidents, Occurrence, Query, Resolver, Status, WishError,
};
use std::io::Write;

/// Sightings that `show` prints unless told otherwise.
const OCCURRENCES: u32 = 20;

/// Incidents: one for each cause and service, over all nodes; open, muted, resolved, regressed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound incidents list                                  what goes on
  leakhound incidents show 3f9ac01b2d                       one of them, and every capture that showed it
  leakhound incidents mute 3f9a --for '7 days' --reason 'known, SHOP-12'
  leakhound incidents resolve 3f9a --version 2.4.0          heard of again only if 2.4.0 or later shows it

An incident that is not seen for 14 watched days resolves itself. One that comes back is `regressed`.")]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List incidents, the last seen first
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// Only this service.
        #[arg(long)]
        service: Option<String>,
        /// Only those seen in the last span, such as `7 days`.
        #[arg(long, value_name = "SPAN")]
        since: Option<String>,
        /// Print an array of objects.
        #[arg(long)]
        json: bool,
    },
    /// Show one incident and the captures that showed it
    Show {
        /// Its id, or the beginning of it.
        id: String,
        /// Captures to print.
        #[arg(long, value_name = "N", default_value_t = OCCURRENCES)]
        limit: u32,
        /// Print one object.
        #[arg(long)]
        json: bool,
    },
    /// Hear no more of it, for a while or for good; it is still counted
    Mute {
        /// Its id, or the beginning of it.
        id: String,
        /// For how long, such as `7 days`; for good, when absent.
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<String>,
        /// Why.
        #[arg(long, default_value = "muted by hand")]
        reason: String,
    },
    /// Hear of it again
    Unmute {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Say that it is over
    Resolve {
        /// Its id, or the beginning of it.
        id: String,
        /// The version of the service that has the fix: older ones may go on showing it.
        #[arg(long)]
        version: Option<String>,
        /// Why.
        #[arg(long, default_value = "resolved by hand")]
        reason: String,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let archive = args.archive.open()?;
    let state = State::open(archive.location()).or_input()?;
    let incidents = Incidents::open(state).or_input()?;
    match &args.command {
        Command::List {
            all,
            service,
            since: last,
            json,
        } => {
            let query = Query {
                all: *all,
                service: service.clone(),
            };
            let mut found = incidents.list(&query).or_input()?;
            if let Some(since) = since(last.as_deref())? {
                found.retain(|incident| incident.last_seen >= since);
            }
            list(&found, *json)
        }
        Command::Show { id, limit, json } => {
            let incident = incidents.find(id).map_err(failure)?;
            let seen = incidents.occurrences(&incident.id, *limit).or_input()?;
            show(&incident, &seen, *json)
        }
        Command::Mute { id, span, reason } => {
            let until = span.as_deref().map(from_now).transpose()?;
            said(&incidents.mute(id, until, reason).map_err(failure)?)
        }
        Command::Unmute { id } => said(&incidents.unmute(id).map_err(failure)?),
        Command::Resolve {
            id,
            version,
            reason,
        } => said(
            &incidents
                .resolve(id, version.as_deref(), reason, Timestamp::now())
                .map_err(failure)?,
        ),
    }
}

fn failure(error: WishError) -> Failure {
    match error {
        WishError::State(error) => Failure::input(error),
        other => Failure::usage(other),
    }
}

/// `--for 7 days` as a moment.
fn from_now(text: &str) -> Result<Timestamp, Failure> {
    let span: Millis = text
        .parse()
        .map_err(|error| anyhow::anyhow!("--for: {error}"))
        .or_usage()?;
    let ms = i64::try_from(span.0).unwrap_or(i64::MAX);
    let then = Timestamp::now().as_millisecond().saturating_add(ms);
    Timestamp::from_millisecond(then)
        .map_err(|error| anyhow::anyhow!("--for: {error}"))
        .or_usage()
}

fn list(found: &[Incident], json: bool) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, found).or_input()?;
        writeln!(out).or_input()?;
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        writeln!(out, "No incident goes on.").or_input()?;
    }
    for incident in found {
        writeln!(
            out,
            "{}  {:<9}  {:<8}  {}\n    {}: {}\n    {}, last seen {}",
            incident.id,
            incident.status.name(),
            incident.severity,
            incident.service,
            incident.category,
            culprit(incident),
            counted(incident),
            minute(incident.last_seen),
        )
        .or_input()?;
    }
    Ok(Exit::Ok)
}

fn show(incident: &Incident, seen: &[Occurrence], json: bool) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        let mut value = serde_json::to_value(incident).or_input()?;
        value["occurrences"] = serde_json::to_value(seen).or_input()?;
        serde_json::to_writer_pretty(&mut out, &value).or_input()?;
        writeln!(out).or_input()?;
        return Ok(Exit::Ok);
    }
    let versions = match (&incident.first_version, &incident.last_version) {
        (Some(first), Some(last)) if first != last => format!(", versions {first} to {last}"),
        (_, Some(last)) => format!(", version {last}"),
        _ => String::new(),
    };
    writeln!(
        out,
        "{}  {}  in {}\n  {}\n  {}: {}\n  {}{versions}\n  first seen {}, last seen {}\n  {}\n  fingerprint {}",
        incident.id,
        incident.severity,
        incident.service,
        incident.title,
        incident.category,
        culprit(incident),
        counted(incident),
        minute(incident.first_seen),
        minute(incident.last_seen),
        standing(&incident.status),
        incident.fingerprint,
    )
    .or_input()?;
    for one in seen {
        writeln!(
            out,
            "    {}  {:>9}  {}{}  {}  ({})",
            minute(one.at),
            format_bytes(one.bytes as f64),
            one.node,
            one.version
                .as_ref()
                .map(|version| format!(" {version}"))
                .unwrap_or_default(),
            one.capture,
            one.said,
        )
        .or_input()?;
    }
    Ok(Exit::Ok)
}

fn said(incident: &Incident) -> Result<Exit, Failure> {
    println!("{}: {}", incident.id, standing(&incident.status));
    Ok(Exit::Ok)
}

fn culprit(incident: &Incident) -> &str {
    match incident.culprit.as_str() {
        "" => &incident.title,
        culprit => culprit,
    }
}

fn counted(incident: &Incident) -> String {
    let plural = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!(
        "{} on {}, {} at the last",
        plural(incident.n_sightings, "capture"),
        plural(incident.n_nodes, "node"),
        format_bytes(incident.bytes as f64)
    )
}

fn standing(status: &Status) -> String {
    match status {
        Status::Open => "open".to_owned(),
        Status::Muted { until, reason } => match until {
            Some(until) => format!("muted until {}: {reason}", minute(*until)),
            None => format!("muted for good: {reason}"),
        },
        Status::Resolved { at, by, version } => {
            let version = version
                .as_ref()
                .map(|version| format!(" in {version}"))
                .unwrap_or_default();
            let by = match by {
                Resolver::Quiet(span) => {
                    format!("not seen for {}", format_duration(span.as_millis() as f64))
                }
                Resolver::Person(reason) => reason.clone(),
            };
            format!("resolved{version} at {}: {by}", minute(*at))
        }
        Status::Regressed { fixed_in, fixed_at } => match fixed_in {
            Some(version) => format!("regressed: thought fixed in {version}"),
            None => format!("regressed: thought fixed at {}", minute(*fixed_at)),
        },
    }
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
