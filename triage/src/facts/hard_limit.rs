//! The limit that the garbage collector was given: it fails an allocation long before the container is full.

use leakhound_archive::Manifest;
use leakhound_rules::{FactSheet, Value};

/// Names of the setting in the environment, the newer prefix first. The value is hexadecimal
/// (learn.microsoft.com/dotnet/core/runtime-config/garbage-collector#heap-limit).
const SETTINGS: [&str; 2] = ["DOTNET_GCHeapHardLimit", "COMPlus_GCHeapHardLimit"];

/// Takes the GC's limit for the process's limit if it binds first. Call it once `heap.committed` is known.
pub fn write(manifest: Option<&Manifest>, sheet: &mut FactSheet) {
    let from_dump = || u64::try_from(sheet.get_int("gc.hard_limit")?).ok();
    let limit = manifest.and_then(limit_of).or_else(from_dump);
    let (Some(limit), Some(used)) = (limit, sheet.get_int("heap.committed")) else {
        return;
    };
    let share = used as f64 / limit as f64;
    let known = sheet.facts.get("limit_share");
    if matches!(known, Some(Value::Float(known)) if *known >= share) {
        return;
    }
    sheet.int("limit", limit);
    sheet.int("limit_used", u64::try_from(used).unwrap_or_default());
    sheet.float("limit_share", share);
    sheet.int("limit_file", 0);
}

fn limit_of(manifest: &Manifest) -> Option<u64> {
    SETTINGS
        .iter()
        .filter_map(|name| manifest.environment.get(*name))
        .filter_map(|text| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok())
        .find(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet_with(setting: &str, committed: u64) -> FactSheet {
        let mut manifest = Manifest::default();
        manifest
            .environment
            .insert(SETTINGS[0].to_owned(), setting.to_owned());
        let mut sheet = FactSheet::default();
        sheet.int("heap.committed", committed);
        write(Some(&manifest), &mut sheet);
        sheet
    }

    #[test]
    fn the_setting_is_hexadecimal() {
        let sheet = sheet_with("0x10000000", 241_591_910);
        assert_eq!(sheet.get_int("limit"), Some(268_435_456));
        assert_eq!(sheet.get_int("limit_used"), Some(241_591_910));
        assert_eq!(sheet_with("zebra", 1).get_int("limit"), None);
        assert_eq!(sheet_with("0", 1).get_int("limit"), None);
    }

    #[test]
    fn without_a_manifest_the_dump_tells() {
        let mut sheet = FactSheet::default();
        sheet.int("heap.committed", 50);
        write(None, &mut sheet);
        assert_eq!(sheet.get_int("limit"), None);
        sheet.int("gc.hard_limit", 100);
        write(None, &mut sheet);
        assert_eq!(sheet.get_int("limit"), Some(100));
    }

    #[test]
    fn a_container_that_is_fuller_stays_the_limit() {
        let mut manifest = Manifest::default();
        manifest
            .environment
            .insert(SETTINGS[1].to_owned(), "10000000".to_owned());
        let mut sheet = FactSheet::default();
        sheet.int("heap.committed", 100_000_000);
        sheet.int("limit", 300_000_000);
        sheet.float("limit_share", 0.9);
        write(Some(&manifest), &mut sheet);
        assert_eq!(sheet.get_int("limit"), Some(300_000_000));
        sheet.float("limit_share", 0.1);
        write(Some(&manifest), &mut sheet);
        assert_eq!(sheet.get_int("limit"), Some(268_435_456));
    }
}
