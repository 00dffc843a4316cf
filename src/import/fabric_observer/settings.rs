//! Settings.xml, the overrides in ApplicationManifest.xml, and the parameters that they name.

use super::LeftOut;
use std::collections::BTreeMap;

/// The section that speaks of services.
const SECTION: &str = "AppObserverConfiguration";

/// What the files of settings say.
#[derive(Debug, Default)]
pub struct Settings {
    /// Sections with their values, unresolved; empty values were not kept.
    sections: BTreeMap<String, BTreeMap<String, String>>,
    /// Parameters of the application.
    parameters: BTreeMap<String, String>,
}

/// What holds for the captures of all services.
#[derive(Debug)]
pub struct Capture {
    /// `3 per 4 h`.
    pub limit: Option<String>,
    /// `full`, where it is not the default.
    pub kind: Option<&'static str>,
    /// Seconds for which a threshold must be passed.
    pub lasting_s: u64,
    /// The working set is the private one.
    pub private: bool,
}

impl Settings {
    /// Adds a file.
    pub fn read(&mut self, xml: &str) -> anyhow::Result<()> {
        let document = roxmltree::Document::parse(xml)?;
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            let (Some(name), Some(parent)) = (node.attribute("Name"), node.parent_element()) else {
                continue;
            };
            if node.tag_name().name() != "Parameter" {
                continue;
            }
            let value = node
                .attribute("Value")
                .or(node.attribute("DefaultValue"))
                .unwrap_or_default()
                .trim();
            if value.is_empty() {
                continue;
            }
            match (parent.tag_name().name(), parent.attribute("Name")) {
                ("Section", Some(section)) => {
                    let section = self.sections.entry(section.to_owned()).or_default();
                    // An override refers to a parameter; it wins over what stands in Settings.xml, whichever is read first.
                    let replaces = value.starts_with('[') || !section.contains_key(name);
                    if replaces {
                        section.insert(name.to_owned(), value.to_owned());
                    }
                }
                // A file of parameters wins over the defaults of the manifest.
                ("Parameters", _) if node.has_attribute("Value") => {
                    self.parameters.insert(name.to_owned(), value.to_owned());
                }
                ("Parameters", _) => {
                    self.parameters
                        .entry(name.to_owned())
                        .or_insert(value.to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn resolved<'a>(&'a self, value: &'a str) -> &'a str {
        let parameter = value
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match parameter {
            Some(name) => self.parameters.get(name).map_or("", String::as_str),
            None => value,
        }
    }

    /// What is said for all services; what has no counterpart is named.
    pub fn capture(&self, left_out: &mut LeftOut) -> Capture {
        let mut capture = Capture {
            limit: None,
            kind: None,
            lasting_s: 30,
            private: true,
        };
        let mut dumps: Option<u32> = None;
        let mut window_s = 4 * 3600;
        let mut kept: Vec<String> = Vec::new();
        let empty = BTreeMap::new();
        let section = self.sections.get(SECTION).unwrap_or(&empty);
        for (key, value) in section {
            let value = self.resolved(value);
            if value.is_empty() {
                continue;
            }
            let wrong = |what: &str| format!("{SECTION}: {key} = {value}: expected {what}");
            match key.as_str() {
                "MaxDumps" => match value.parse() {
                    Ok(count) if count > 0 => dumps = Some(count),
                    _ => left_out.push(wrong("a count above 0")),
                },
                "MaxDumpsTimeWindow" => match seconds(value) {
                    Some(span) if span > 0 => window_s = span,
                    _ => left_out.push(wrong("a span such as 04:00:00")),
                },
                "MonitorDuration" => match seconds(value) {
                    Some(span) => capture.lasting_s = capture.lasting_s.max(span),
                    None => left_out.push(wrong("a span such as 00:00:30")),
                },
                "DumpType" => match value.to_ascii_lowercase().as_str() {
                    "full" => capture.kind = Some("full"),
                    "miniplus" => {}
                    "mini" => left_out.push(format!(
                        "{SECTION}: DumpType = {value}: it holds no heap, which a diagnosis needs; `heap`, the default, is taken"
                    )),
                    _ => left_out.push(wrong("Mini, MiniPlus or Full")),
                },
                "MonitorPrivateWorkingSet" => match value.to_ascii_lowercase().as_str() {
                    "true" => capture.private = true,
                    "false" => capture.private = false,
                    _ => left_out.push(wrong("true or false")),
                },
                "Enabled" if value.eq_ignore_ascii_case("false") => left_out.push(format!(
                    "{SECTION}: Enabled = false: AppObserver was switched off; its thresholds are taken over all the same"
                )),
                "EnableProcessDumps" if value.eq_ignore_ascii_case("false") => left_out.push(format!(
                    "{SECTION}: EnableProcessDumps = false: FabricObserver took no dumps; Leakhound does when a trigger fires"
                )),
                "Enabled" | "EnableProcessDumps" | "AppObserverDataFileName" | "ConfigurationFileName" => {}
                _ => kept.push(format!("{key} = {value}")),
            }
        }
        if !kept.is_empty() {
            left_out.push(format!(
                "{SECTION}: {}: of FabricObserver's own working, without a counterpart",
                kept.join(", ")
            ));
        }
        for (section, values) in self.sections.iter().filter(|(name, _)| *name != SECTION) {
            let limits: Vec<String> = values
                .iter()
                .map(|(key, value)| (key, self.resolved(value)))
                .filter(|(key, value)| {
                    let key = key.to_ascii_lowercase();
                    let is_limit = key.contains("warning")
                        || key.contains("error")
                        || key.contains("threshold");
                    is_limit && value.parse::<f64>().is_ok()
                })
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            if !limits.is_empty() {
                left_out.push(format!(
                    "{section}: {}: of the machine or the cluster, not of a service",
                    limits.join(", ")
                ));
            }
        }
        capture.limit = dumps.map(|count| format!("{count} per {}", span(window_s)));
        capture
    }
}

/// Seconds of .NET's `[d.]hh:mm:ss`.
fn seconds(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let all = days
        .checked_mul(86_400)?
        .checked_add(hours.checked_mul(3600)?)?;
    all.checked_add(minutes.checked_mul(60)?)?
        .checked_add(seconds)
}

/// A span in the largest unit that divides it.
fn span(seconds: u64) -> String {
    let units = [(86_400, "days"), (3600, "h"), (60, "min")];
    let unit = units.iter().find(|(size, _)| seconds.is_multiple_of(*size));
    match unit {
        Some((size, unit)) => format!("{} {unit}", seconds / size),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_dotnet_are_read() {
        for (text, expected) in [
            ("00:00:30", Some(30)),
            ("04:00:00", Some(14_400)),
            ("1.02:00:00", Some(93_600)),
            ("30", None),
            ("a:b:c", None),
            ("99999999999999999999:00:00", None),
            ("9999999999999999.00:00:00", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(
            (span(14_400), span(90), span(172_800)),
            ("4 h".to_owned(), "90 s".to_owned(), "2 days".to_owned())
        );
    }
}
