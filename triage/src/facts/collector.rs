//! What the collector did, why, and what it failed at.

use leakhound_clr::{LatencyMode, Runtime};
use leakhound_rules::FactSheet;

/// Writes `gc.*_collections`, `gc.last_*`, `gc.latency_mode`, `gc.concurrent`, `gc.background` and `gc.oom_*`.
pub fn write(runtime: &Runtime, sheet: &mut FactSheet) {
    sheet.bool("gc.background", runtime.info().background_gc);
    let state = runtime.gc_state();
    match state.collections {
        Some([gen0, gen1, gen2]) => {
            sheet.int("gc.gen0_collections", gen0);
            sheet.int("gc.gen1_collections", gen1);
            sheet.int("gc.gen2_collections", gen2);
        }
        None => sheet.unknown(
            "gc.gen2_collections",
            "the collector's own counters were not found in its data",
        ),
    }
    if let Some(mechanisms) = state.mechanisms {
        sheet.int("gc.compacting_collections", mechanisms.compacting);
        sheet.int("gc.concurrent_collections", mechanisms.concurrent);
    }
    if let Some(last) = state.last {
        sheet.int("gc.last_generation", last.generation.into());
        sheet.text("gc.last_reason", last.reason);
        sheet.bool("gc.last_induced", last.induced);
        sheet.bool("gc.last_compacting", last.compacting);
    }
    if let Some(mode) = state.latency_mode {
        sheet.text("gc.latency_mode", mode.name());
        // The collector starts in one of two modes, by whether it may work in the background; programs may ask for others.
        match mode {
            LatencyMode::Interactive | LatencyMode::SustainedLowLatency => {
                sheet.bool("gc.concurrent", true);
            }
            LatencyMode::Batch => sheet.bool("gc.concurrent", false),
            LatencyMode::LowLatency | LatencyMode::NoGcRegion => {}
        }
    }
    if let Some(failure) = state.out_of_memory.iter().max_by_key(|o| o.gc_index) {
        sheet.text("gc.oom_reason", failure.reason);
        sheet.int("gc.oom_bytes", failure.bytes);
        if let Some([gen0, ..]) = state.collections {
            let since = gen0.saturating_sub(failure.gc_index);
            sheet.int("gc.collections_since_oom", since);
        }
    }
}
