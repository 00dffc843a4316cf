//! `leakhound doctor`: what will not work here, why, and what to do about it.

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::open::ConfigArg;
use leakhound_archive::Archive;
use leakhound_archive::state::{STATE_FILE, State};
use leakhound_collector::doctor::{Check, Health, checks};
use leakhound_collector::{discover, seal};
use leakhound_triage::notify::outbox::Policy;
use leakhound_triage::notify::outbox::{EntryState, Filter};
use leakhound_triage::notify::{DestinationConfig, Http, Outbox};
use std::sync::Arc;
use std::time::Duration;

/// How long a destination may take to accept a connection.
const REACH: Duration = Duration::from_secs(3);

/// What will not work on this machine, and why. Changes nothing, stops nothing; destinations are connected to, and sent
/// nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    let config = if args.config.config.is_file() {
        match Config::load(&args.config.config) {
            Ok(config) => {
                let sentence = format!("{} is valid", args.config.config.display());
                found.push(check("configuration", Health::Ok, sentence, ""));
                config
            }
            Err(error) => {
                found.push(check(
                    "configuration",
                    Health::Fail,
                    format!("{error:#}"),
                    "Mend the file; an agent that runs keeps the last good one",
                ));
                Config::default()
            }
        }
    } else {
        found.push(check(
            "configuration",
            Health::Warn,
            format!("{} is not there", args.config.config.display()),
            "Give --config FILE; `leakhound run` needs one",
        ));
        Config::default()
    };
    found.extend(checks(&config.collector(), &config.archive.location));
    found.push(processes());
    found.push(archive(&config));
    found.extend(cluster(&config));
    found.extend(destinations(&config));
    found.extend(letters(&config));

    let worst = found.iter().any(|c| c.health == Health::Fail);
    if args.json {
        for c in &found {
            println!(
                "{}",
                serde_json::json!({ "check": c.check, "health": word(c.health), "sentence": c.sentence, "advice": c.advice })
            );
        }
    } else {
        for c in &found {
            println!("{:<5} {:<18} {}", word(c.health), c.check, c.sentence);
            if !c.advice.is_empty() {
                println!("{:24} → {}", "", c.advice);
            }
        }
    }
    Ok(if worst { Exit::Findings } else { Exit::Ok })
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    }
}

fn check(check: &'static str, health: Health, sentence: String, advice: &str) -> Check {
    Check {
        check,
        health,
        sentence,
        advice: advice.to_owned(),
    }
}

fn processes() -> Check {
    let own = std::process::id();
    let found: Vec<String> = discover::all()
        .into_iter()
        .filter(|p| p.dotnet.is_some() && p.pid != own)
        .map(|p| format!("{} ({})", p.name, p.pid))
        .collect();
    if found.is_empty() {
        return check(
            ".NET processes",
            Health::Warn,
            "none is visible".to_owned(),
            "Start the service, or run as a user that may see it (root, or CAP_SYS_PTRACE)",
        );
    }
    check(".NET processes", Health::Ok, found.join(", "), "")
}

fn archive(config: &Config) -> Check {
    let location = &config.archive.location;
    if !location.exists() {
        return check(
            "archive",
            Health::Warn,
            format!("{} is not there yet", location.display()),
            "`leakhound run` makes it; its parent must be writable for the agent's user",
        );
    }
    match Archive::open(location) {
        Ok(_) => check(
            "archive",
            Health::Ok,
            format!("{} opens", location.display()),
            "",
        ),
        Err(error) => check("archive", Health::Fail, error.to_string(), "See the reason"),
    }
}

/// The cluster is asked once, as the agent would.
fn cluster(config: &Config) -> Vec<Check> {
    let Some(cluster) = &config.fabric else {
        return Vec::new();
    };
    let node = seal::node_name();
    let mut found = Vec::new();
    let asked = cluster
        .check()
        .map_err(|error| error.to_string())
        .and_then(|warnings| {
            found.extend(warnings.into_iter().map(|warning| {
                check("cluster", Health::Warn, warning, "It is asked all the same")
            }));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime
                .block_on(cluster.processes(&node))
                .map_err(|failure| failure.to_string())
        });
    found.push(match asked {
        Ok(processes) => check(
            "cluster",
            Health::Ok,
            format!(
                "{} knows {} processes of node {node}",
                cluster.gateway,
                processes.len()
            ),
            "",
        ),
        Err(why) => check(
            "cluster",
            Health::Warn,
            format!(
                "{} does not say what runs on node {node}: {why}",
                cluster.gateway
            ),
            "Check [fabric]; processes go by what their environment says meanwhile",
        ),
    });
    if cluster.prefer_secondary.0 > 0 {
        // Whether it may report shows when it does: this only looks.
        found.push(check(
            "notices",
            Health::Ok,
            format!(
                "primaries wait up to {} for a secondary to be captured",
                cluster.prefer_secondary
            ),
            "The certificate needs the right ReportHealth; the log says when a notice is refused",
        ));
    }
    found
}

fn destinations(config: &Config) -> Vec<Check> {
    let mut found = Vec::new();
    for to in &config.notify {
        match to.check() {
            Ok(warnings) => {
                found.extend(warnings.into_iter().map(|warning| {
                    let sentence = format!("{}: {warning}", to.name);
                    check(
                        "destination",
                        Health::Warn,
                        sentence,
                        "Messages are sent all the same",
                    )
                }));
                found.push(reach(to));
            }
            Err(error) => found.push(check(
                "destination",
                Health::Fail,
                format!("{}: {error}", to.name),
                "Set the secret where the agent can read it",
            )),
        }
    }
    if config.notify.is_empty() {
        found.push(check(
            "destination",
            Health::Warn,
            "nobody is told: there is no [[notify]]".to_owned(),
            "Add one; diagnoses are kept in the archive meanwhile",
        ));
    }
    found
}

/// A connection is opened and closed; nothing is sent.
fn reach(to: &DestinationConfig) -> Check {
    let reached = to
        .destination
        .address()
        .map_err(|error| error.to_string())
        .and_then(|address| address.reach(REACH));
    match reached {
        Ok(()) => check(
            "destination",
            Health::Ok,
            format!("{} answers; `leakhound notify test {0}` tries it", to.name),
            "",
        ),
        Err(why) => check(
            "destination",
            Health::Fail,
            format!("{} cannot be reached: {why}", to.name),
            "Check name, proxy and firewall; messages wait in the outbox meanwhile",
        ),
    }
}

/// Dead letters: what could not be delivered and was given up.
fn letters(config: &Config) -> Option<Check> {
    if !config.archive.location.join(STATE_FILE).is_file() {
        return None;
    }
    let outbox = State::open(&config.archive.location)
        .map_err(|e| e.to_string())
        .and_then(|state| {
            Outbox::open(state, Arc::new(Http::default()), Policy::default())
                .map_err(|e| e.to_string())
        });
    let outbox = match outbox {
        Ok(outbox) => outbox,
        Err(error) => return Some(check("outbox", Health::Fail, error, "See the reason")),
    };
    let filter = Filter {
        state: Some(EntryState::Dead),
        limit: 10,
        ..Filter::default()
    };
    match (outbox.counts(), outbox.list(&filter)) {
        (Ok(counts), Ok(dead)) if counts.n_dead > 0 => {
            let which: Vec<String> = dead
                .iter()
                .map(|e| {
                    let said = e.last_reply.as_deref().unwrap_or("no reply");
                    format!("{} to {}: {said}", e.title, e.destination)
                })
                .collect();
            Some(check(
                "outbox",
                Health::Fail,
                format!(
                    "{} messages were given up: {}",
                    counts.n_dead,
                    which.join("; ")
                ),
                "Mend the destination, check it with `leakhound notify test`, then `leakhound notify revive`",
            ))
        }
        (Ok(counts), Ok(_)) => {
            let sentence = format!(
                "{} delivered, {} waiting",
                counts.n_delivered, counts.n_waiting
            );
            let health = if counts.n_waiting > 0 {
                Health::Warn
            } else {
                Health::Ok
            };
            Some(check(
                "outbox",
                health,
                sentence,
                if counts.n_waiting > 0 {
                    "They are sent as soon as their destinations answer"
                } else {
                    ""
                },
            ))
        }
        (Err(error), _) | (_, Err(error)) => Some(check(
            "outbox",
            Health::Fail,
            error.to_string(),
            "See the reason",
        )),
    }
}
