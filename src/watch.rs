//! `leakhound watch`: live values, and which triggers would fire. Captures nothing.

mod json;
mod screen;
mod text;

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, DEFAULT_CONFIG};
use clap::ValueEnum;
use leakhound_archive::state::{STATE_FILE, State};
use leakhound_collector::config::{Config as CollectorConfig, ServiceConfig, Span, TriggerConfig};
use leakhound_collector::discover;
use leakhound_collector::dry_run::DryRun;
use leakhound_collector::trigger::never_fires;
use leakhound_rules::vocabulary::Kind;
use leakhound_rules::{Quantity, Trigger};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a signal is noticed.
const SLICE: Duration = Duration::from_millis(50);
/// Shortest time between two looks.
const EVERY_LEAST: Duration = Duration::from_millis(100);
/// Longest.
const EVERY_MOST: Duration = Duration::from_secs(3600);

/// Live values of services, like `top`, and what their triggers say about them. A dry run: nothing is captured.
///
/// Without PID or NAME it watches what the agent's configuration names, with its triggers, and with averages that reach
/// back into the agent's history. Averages and slopes need some samples first: until then they are unknown, and unknown
/// never fires.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns: private bytes, resident memory, growth of the former per hour, share of the limit,
processor use (100% is one core), threads, descriptors, the managed heap, and objects that wait
for the finalizer. The last two are read from the running process without a pause; `leakhound
doctor` says why they may be missing.

Under each process stand its triggers: `FIRES`, `no`, `unknown`, or how long a `for` has held;
then each comparison with its value and its threshold now. `fired 2 times` counts how often it
would have captured, cool-downs and limits aside.

Examples:
  leakhound watch                            what the agent would do, by its configuration
  leakhound watch --config new.toml          try a configuration before it goes live
  leakhound watch 4711                       one process, with the default triggers
  leakhound watch Shop.Cart 'Shop.Orders*'   by name: assembly, executable or comm
  leakhound watch 4711 --when 'private_bytes > steps(1 GB, 2 GB, 3 GB)'
  leakhound watch Shop.Cart --when 'rss > 2 * siblings(rss) for 1 min'
  leakhound watch 4711 --when 'managed.gen2 > 1 GB or cpu.machine > 80% for 30 s'
  leakhound watch 4711 --when 'counter(\"System.Runtime/threadpool-queue-length\") > 100 for 30 s'
  leakhound watch '*' --format json --every '10 s' | jq '.processes[] | {pid, rss: .facts.rss}'

`leakhound rules facts` lists every fact that a trigger may name: those marked live. A trigger may
also name any EventCounter of the program, as counter(\"PROVIDER/NAME\"); while one is watched, the
process sends its values over its diagnostics socket.")]
pub struct Args {
    /// Processes by id or name; `*` in a name stands for any characters, and then only .NET processes are meant.
    #[arg(value_name = "PID|NAME")]
    processes: Vec<String>,
    /// Watch the services of this configuration. Default: $LEAKHOUND_CONFIG, else /etc/leakhound/leakhound.toml.
    #[arg(long, short, value_name = "FILE", conflicts_with = "processes")]
    config: Option<PathBuf>,
    /// A trigger to try, beside those of the configuration; with PID or NAME instead of the default ones. May be repeated.
    #[arg(long, value_name = "EXPRESSION")]
    when: Vec<String>,
    /// Time between two looks.
    #[arg(long, value_name = "SPAN", default_value = "1 s", value_parser = every)]
    every: Duration,
    /// End after so many looks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How to print it: a screen on a terminal and a block for each look elsewhere, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object a line for each look, plain numbers.
    Json,
}

fn every(text: &str) -> Result<Duration, String> {
    let quantity = Quantity::parse(text).map_err(|e| e.to_string())?;
    let span = match quantity.kind {
        Some(Kind::Duration) => Duration::from_millis(quantity.value as u64),
        _ => return Err("a time span such as `5 s` is expected".to_owned()),
    };
    if (EVERY_LEAST..=EVERY_MOST).contains(&span) {
        Ok(span)
    } else {
        Err("out of range: 100 ms to 1 h".to_owned())
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let tries = tries(&args.when)?;
    let (config, state) = if args.processes.is_empty() {
        configured(args.config.as_ref(), tries)?
    } else {
        (named(&args.processes, &tries, args.every)?, None)
    };
    let mut dry = DryRun::new(config, state).or_input()?;
    let stopped = open::cancel_on_signal();
    let mut show: Box<dyn FnMut(&_) -> std::io::Result<()>> = match args.format {
        Format::Json => Box::new(|moment| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", json::line(moment))?;
            out.flush()
        }),
        Format::Text if std::io::stdout().is_terminal() => {
            let mut screen = screen::Screen::open().or_input()?;
            let style = open::style();
            Box::new(move |moment| screen.draw(&text::lines(moment), style.color))
        }
        Format::Text => Box::new(|moment| {
            let mut out = std::io::stdout().lock();
            for line in text::lines(moment) {
                writeln!(out, "{}", line.text)?;
            }
            writeln!(out)?;
            out.flush()
        }),
    };
    let mut looks = 0;
    let mut next = Instant::now();
    while !stopped.load(Ordering::Relaxed) {
        // A reader that closed its end (`| head`) has what it wanted.
        if show(&dry.look()).is_err() {
            break;
        }
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            break;
        }
        // A look that took long is not made up for.
        next = (next + args.every).max(Instant::now());
        wait(next, &stopped);
    }
    Ok(Exit::Ok)
}

fn wait(until: Instant, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// The triggers given on the command line.
fn tries(texts: &[String]) -> Result<Vec<TriggerConfig>, Failure> {
    let mut triggers = Vec::new();
    for text in texts {
        let trigger =
            Trigger::parse(text).map_err(|fault| Failure::usage(anyhow::anyhow!("{fault}")))?;
        if let Some(why) = never_fires(&trigger).into_iter().next() {
            return Err(Failure::usage(anyhow::anyhow!("--when `{text}`: {why}")));
        }
        triggers.push(TriggerConfig {
            name: "--when".to_owned(),
            when: text.as_str().into(),
            pair: None,
        });
    }
    Ok(triggers)
}

/// What the agent watches, and what it remembers of it.
fn configured(
    file: Option<&PathBuf>,
    tries: Vec<TriggerConfig>,
) -> Result<(CollectorConfig, Option<State>), Failure> {
    let from_environment = || std::env::var_os("LEAKHOUND_CONFIG").map(PathBuf::from);
    let file = file
        .cloned()
        .or_else(from_environment)
        .unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    if !file.exists() {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} is not there: give --config FILE, or say what to watch: `leakhound watch PID`, `leakhound watch '*'`",
            file.display()
        )));
    }
    let config = Config::load(&file).or_usage()?;
    let location = &config.archive.location;
    let state = if location.join(STATE_FILE).is_file() {
        State::open(location)
            .inspect_err(|error| {
                eprintln!("warning: {error}; averages start anew");
            })
            .ok()
    } else {
        None
    };
    let mut config = config.collector();
    if config.service.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} names no [[service]]; say what to watch: `leakhound watch PID`, `leakhound watch '*'`",
            file.display()
        )));
    }
    for service in &mut config.service {
        if !tries.is_empty() {
            service.trigger = service.triggers();
            service.trigger.extend(tries.iter().cloned());
        }
    }
    Ok((config, state))
}

/// A service for each process or name on the command line.
fn named(
    processes: &[String],
    tries: &[TriggerConfig],
    every: Duration,
) -> Result<CollectorConfig, Failure> {
    let mut config = CollectorConfig::default();
    for word in processes {
        let mut service = match word.parse::<u32>() {
            Ok(pid) => {
                let found = discover::one(pid).map_err(|error| {
                    Failure::input(anyhow::anyhow!(
                        "process {pid} cannot be looked at; is it running, and may you see it? ({error})"
                    ))
                })?;
                let mut service = ServiceConfig::named(&found.name);
                service.pid = Some(pid);
                service
            }
            Err(_) => ServiceConfig::named(word),
        };
        service.trigger = tries.to_vec();
        service.every = Span(every);
        config.service.push(service);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_between_looks_are_checked() {
        assert_eq!(every("2 s"), Ok(Duration::from_secs(2)));
        for wrong in ["0 s", "2", "3 GB", "2 h", "soon"] {
            assert!(every(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trigger_that_only_a_dump_could_answer_is_refused() {
        let refused = |text: &str| tries(&[text.to_owned()]).err().map(|f| f.to_string());
        assert!(refused("private_bytes > 1 GB").is_none());
        assert!(refused("loh.free > 1 GB").is_some_and(|e| e.contains("only be read from a dump")));
        assert!(refused("privat_bytes > 1 GB").is_some_and(|e| e.contains('^')));
    }
}
