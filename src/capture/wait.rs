//! Waiting: for a process to appear, for a condition to hold, for time to pass. A signal ends each at once.

use crate::exit::{Failure, OrExit};
use crate::terminal;
use anyhow::anyhow;
use leakhound_archive::manifest::TriggerRecord;
use leakhound_collector::config::{Span, TriggerConfig};
use leakhound_collector::discover;
use leakhound_collector::identity::Identity;
use leakhound_collector::sample::Facts;
use leakhound_collector::vigil::{Seen, Vigil};
use leakhound_rules::units::format_value;
use leakhound_rules::vocabulary;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at whether a signal came.
const LOOK: Duration = Duration::from_millis(50);
/// Between two lists of all processes.
const LIST: Duration = Duration::from_millis(250);

/// Sleeps; false when a signal came.
pub fn pause(until: Instant, stopped: &AtomicBool) -> bool {
    while !stopped.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
    false
}

fn interrupted() -> Failure {
    Failure::input(anyhow!("stopped while waiting; nothing is held"))
}

/// The processes that `name` means: a number is an id.
pub fn named(name: &str) -> Vec<Identity> {
    if let Ok(pid) = name.parse() {
        return discover::one(pid).into_iter().collect();
    }
    by_name(name)
}

/// The processes that are called so: assembly, executable or comm.
pub fn by_name(name: &str) -> Vec<Identity> {
    let own = std::process::id();
    discover::all()
        .into_iter()
        .filter(|p| p.pid != own && (p.name == name || p.comm == name))
        .collect()
}

/// The first process of this name, as soon as there is one.
pub fn for_process(name: &str, stopped: &AtomicBool) -> Result<Identity, Failure> {
    let line = terminal::Line::waiting(&format!("waiting for a process called {name}"));
    loop {
        let mut found = named(name);
        if !found.is_empty() {
            line.done();
            return Ok(found.remove(0));
        }
        if !pause(Instant::now() + LIST, stopped) {
            line.done();
            return Err(interrupted());
        }
    }
}

/// What held in the end, and the process at that moment; `None` when the process ended before.
pub fn for_condition(
    target: &Identity,
    conditions: &[TriggerConfig],
    every: Span,
    stopped: &Arc<AtomicBool>,
) -> Result<Option<(TriggerRecord, Facts)>, Failure> {
    let mut vigil = Vigil::begin(target, conditions, every).or_input()?;
    let line = terminal::Line::waiting(&format!("watching {} ({})", target.name, target.pid));
    let outcome = loop {
        match vigil.look(jiff::Timestamp::now().as_millisecond()) {
            Seen::Fired(record) => break Ok(Some((*record, vigil.facts().clone()))),
            Seen::Gone => break Ok(None),
            Seen::Quiet => {}
        }
        let values = vigil.shown().map(|(name, value)| shown(name, value));
        line.say(&values.collect::<Vec<_>>().join(", "));
        if !pause(vigil.due(), stopped) {
            break Err(interrupted());
        }
    };
    line.done();
    outcome
}

fn shown(name: &str, value: Option<f64>) -> String {
    let counter = || vocabulary::counter_named(name).map(|counter| &counter.fact);
    match (value, vocabulary::fact_named(name).or_else(counter)) {
        (Some(value), Some(fact)) => format!("{name} {}", format_value(value, fact.kind)),
        _ => format!("{name} is not known"),
    }
}
