//! What the collector saw of the process at capture time, taken over from the manifest.

use leakhound_archive::Manifest;
use leakhound_rules::{FactSheet, vocabulary};

/// Copies the manifest's identity and process facts into the sheet. Names the vocabulary does not know are left out.
pub fn write(manifest: &Manifest, sheet: &mut FactSheet) {
    let subject = &mut sheet.subject;
    subject.service.clone_from(&manifest.service);
    subject.node.clone_from(&manifest.node);
    subject.pid = manifest.pid;
    subject.process_started = manifest.process_started.map(|t| t.to_string());
    subject.captured_at = manifest.captured_at.map(|t| t.to_string());
    subject.baseline_at_ms = manifest
        .pair
        .as_ref()
        .and_then(|p| p.first_at)
        .map(|t| t.as_millisecond());
    subject.captured_at_ms = manifest.captured_at.map(|t| t.as_millisecond());
    for (name, value) in &manifest.process_facts {
        let Some(fact) = vocabulary::fact_named(name) else {
            continue;
        };
        match fact.kind {
            vocabulary::Kind::Bytes | vocabulary::Kind::Count | vocabulary::Kind::Duration
                if *value >= 0.0 =>
            {
                sheet.int(name, *value as u64);
            }
            vocabulary::Kind::Bool => sheet.bool(name, *value != 0.0),
            _ => sheet.float(name, *value),
        }
    }
}
