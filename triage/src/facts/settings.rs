//! How the process was started and what its runtime was told: from the dump itself, so that it needs no manifest.

use super::rows::{row, text};
use crate::notify::scrub;
use leakhound_clr::{ProcessStart, Runtime};
use leakhound_dump::ProcessImage;
use leakhound_rules::FactSheet;
use std::collections::BTreeMap;

/// Rows kept.
const KEEP: usize = 100;
/// Characters of the command line that are kept.
const COMMAND_CHARACTERS: usize = 400;
/// Beginnings of the properties that belong to the framework: an application's own may hold anything.
const PROPERTIES: [&str; 2] = ["System.", "Microsoft."];

/// Writes `runtime.host`, `runtime.command`, `gc.hard_limit`, `gc.conserve_memory`, `gc.retain_vm`, `gc.affinitized`, `settings` and `subject.version`.
pub fn write(image: &ProcessImage, runtime: &Runtime, sheet: &mut FactSheet) {
    let start = ProcessStart::read(image);
    let muxer = image
        .modules
        .iter()
        .any(|m| matches!(m.file_name(), "dotnet" | "dotnet.exe"));
    let host = match (runtime.info().single_file, muxer) {
        (true, _) => "single-file",
        (false, true) => "dotnet",
        (false, false) => "apphost",
    };
    sheet.text("runtime.host", host);
    match &start {
        Some(start) => {
            let command = scrub::text(&start.arguments.join(" "))
                .chars()
                .take(COMMAND_CHARACTERS)
                .collect::<String>();
            sheet.text("runtime.command", command);
        }
        None => sheet.unknown(
            "runtime.command",
            "the dump does not tell where it lies, or lacks that memory",
        ),
    }
    super::entry::write(runtime, start.as_ref(), sheet);
    let settings = Settings {
        environment: start.map(|s| s.settings),
        properties: runtime.app_properties(),
    };
    settings.write(runtime.info().server_gc, sheet);
}

/// What the runtime was told, by the environment and by `runtimeconfig.json`.
#[derive(Default)]
struct Settings {
    environment: Option<BTreeMap<String, String>>,
    properties: Option<BTreeMap<String, String>>,
}

impl Settings {
    fn write(&self, server_gc: bool, sheet: &mut FactSheet) {
        if let Some(limit) = self.number("GCHeapHardLimit").filter(|limit| *limit > 0) {
            sheet.int("gc.hard_limit", limit);
        }
        // What is not set has its default only if every place was looked at where it could be.
        if self.environment.is_some() && self.properties.is_some() {
            let number = |name| self.number(name).unwrap_or(0);
            sheet.int("gc.conserve_memory", number("GCConserveMemory"));
            sheet.bool("gc.retain_vm", number("GCRetainVM") != 0);
            if server_gc {
                sheet.bool("gc.affinitized", number("GCNoAffinitize") == 0);
            }
        }
        let environment = self.environment.iter().flatten();
        let own = |(name, _): &(&String, &String)| PROPERTIES.iter().any(|p| name.starts_with(p));
        let properties = self.properties.iter().flatten().filter(own);
        let rows = environment
            .map(|setting| (setting, "environment"))
            .chain(properties.map(|setting| (setting, "runtimeconfig")))
            .take(KEEP)
            .map(|((name, value), source)| {
                row([
                    ("name", text(name.as_str())),
                    ("value", text(scrub::text(value))),
                    ("source", text(source)),
                ])
            });
        sheet.lists.insert("settings".to_owned(), rows.collect());
    }

    /// A setting of the GC: variables are hexadecimal and win over properties, which are decimal unless they begin with `0x`
    /// (learn.microsoft.com/dotnet/core/runtime-config/garbage-collector).
    fn number(&self, name: &str) -> Option<u64> {
        let variable = ["DOTNET_", "COMPlus_"].iter().find_map(|prefix| {
            let text = self
                .environment
                .as_ref()?
                .get(&format!("{prefix}{name}"))?
                .trim();
            u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
        });
        variable.or_else(|| {
            let property = format!("System.GC.{}", name.strip_prefix("GC").unwrap_or(name));
            let text = self.properties.as_ref()?.get(&property)?.trim();
            match (text, text.strip_prefix("0x")) {
                ("true" | "True", _) => Some(1),
                ("false" | "False", _) => Some(0),
                (_, Some(hexadecimal)) => u64::from_str_radix(hexadecimal, 16).ok(),
                (decimal, None) => decimal.parse().ok(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        let owned = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        Some(owned.collect())
    }

    #[test]
    fn variables_are_hexadecimal_and_win_over_properties_which_are_decimal() {
        let mut settings = Settings {
            environment: map(&[
                ("COMPlus_GCHeapHardLimit", "0x10"),
                ("DOTNET_GCHeapHardLimit", "20"),
            ]),
            properties: map(&[
                ("System.GC.HeapHardLimit", "100"),
                ("System.GC.RetainVM", "true"),
            ]),
        };
        assert_eq!(settings.number("GCHeapHardLimit"), Some(0x20));
        assert_eq!(settings.number("GCRetainVM"), Some(1));
        settings.environment = map(&[]);
        assert_eq!(settings.number("GCHeapHardLimit"), Some(100));
        settings.properties = map(&[("System.GC.HeapHardLimit", "0x64")]);
        assert_eq!(settings.number("GCHeapHardLimit"), Some(100));
        settings.properties = map(&[("System.GC.HeapHardLimit", "zebra")]);
        assert_eq!(settings.number("GCHeapHardLimit"), None);
    }

    #[test]
    fn what_was_not_looked_at_is_unknown_and_foreign_properties_stay_inside() {
        let mut sheet = FactSheet::default();
        let mut settings = Settings {
            environment: None,
            properties: map(&[("System.GC.Server", "true"), ("Shop.ApiKey", "k")]),
        };
        settings.write(true, &mut sheet);
        assert_eq!(sheet.get_int("gc.conserve_memory"), None);
        assert_eq!(sheet.lists["settings"].len(), 1);
        settings.environment = map(&[]);
        settings.write(true, &mut sheet);
        assert_eq!(sheet.get_int("gc.conserve_memory"), Some(0));
    }
}
