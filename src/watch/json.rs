//! One look as one JSON object: plain numbers, units in the names or beside the values.

use leakhound_collector::dry_run::{Moment, Seen, TriggerState};
use leakhound_rules::{Reading, Truth};
use serde_json::{Map, Value, json};

/// One line.
pub fn line(moment: &Moment) -> Value {
    json!({
        "at_ms": moment.at_ms,
        "processes": moment.processes.iter().map(process).collect::<Vec<_>>(),
        "absent_services": moment.absent,
        "problems": moment.problems,
    })
}

fn process(seen: &Seen) -> Value {
    let facts: Map<String, Value> = seen
        .facts
        .iter()
        .map(|(name, value)| (name.to_owned(), number(value)))
        .collect();
    json!({
        "service": seen.service,
        "pid": seen.pid,
        "name": seen.name,
        "facts": facts,
        "growth_bytes_per_hour": seen.growth_per_hour.map(|v| number(v.round())),
        "managed_values_unreadable": seen.blind,
        "triggers": seen.triggers.iter().map(trigger).collect::<Vec<_>>(),
    })
}

fn trigger(state: &TriggerState) -> Value {
    json!({
        "name": state.name,
        "when": state.when,
        "fires": state.truth.is_true(),
        "truth": truth(state.truth),
        "true_for_ms": state.true_ms,
        "fired": state.fired,
        "unknown": state.missing,
        "conditions": state.readings.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn condition(reading: &Reading) -> Value {
    let unit = reading.value.as_ref().or(reading.threshold.as_ref());
    json!({
        "condition": reading.condition,
        "value": reading.value.as_ref().map(|s| &s.value),
        "threshold": reading.threshold.as_ref().map(|s| &s.value),
        "unit": unit.map(|s| s.unit),
        "truth": truth(reading.truth),
        "held_ms": reading.hold.and_then(|h| h.held_ms),
        "for_ms": reading.hold.map(|h| h.needed_ms),
        "steps_fired": reading.steps.map(|(fired, _)| fired),
        "steps": reading.steps.map(|(_, all)| all),
    })
}

fn truth(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Unknown => "unknown",
    }
}

/// Whole numbers without a fraction: bytes and counts read as such.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 2f64.powi(53) {
        json!(value as i64)
    } else {
        json!(value)
    }
}
