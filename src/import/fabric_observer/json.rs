//! AppObserver.config.json: a list of objects, each a target with thresholds. Names are taken in any case, and comments and
//! trailing commas are passed over, as FabricObserver's own reader does.

use super::LeftOut;
use super::metric::{METRICS, Metric};
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// One object of the file.
#[derive(Debug, Default, Clone)]
pub struct Entry {
    /// `fabric:/Shop`, or `*`.
    pub app: Option<String>,
    /// `ShopType`.
    pub app_type: Option<String>,
    /// Full names of applications, only with `*`.
    pub apps_in: Vec<String>,
    /// The same, that are left out.
    pub apps_out: Vec<String>,
    /// Names of services as written.
    pub services_in: Vec<String>,
    /// The same, that are left out.
    pub services_out: Vec<String>,
    /// Threshold of each metric: the place in [`METRICS`] and the number.
    pub thresholds: BTreeMap<usize, f64>,
}

impl Entry {
    /// How a message names it.
    pub fn label(&self) -> String {
        match (&self.app, &self.app_type) {
            (Some(app), _) => app.clone(),
            (None, Some(kind)) => format!("application type {kind}"),
            (None, None) => "an entry without a target".to_owned(),
        }
    }
}

/// Reads the list.
pub fn read(text: &str, left_out: &mut LeftOut) -> anyhow::Result<Vec<Entry>> {
    let value: Value = serde_json::from_str(&strict(text)).context("it is not JSON")?;
    let Value::Array(list) = value else {
        bail!("expected a list of objects [ {{ \"targetApp\": … }}, … ]");
    };
    let mut entries = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let Value::Object(object) = value else {
            bail!(
                "expected an object as number {} of the list, found {value}",
                index + 1
            );
        };
        if let Some(entry) = entry(index, object, left_out)? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn entry(
    index: usize,
    object: &serde_json::Map<String, Value>,
    left_out: &mut LeftOut,
) -> anyhow::Result<Option<Entry>> {
    let mut entry = Entry::default();
    let mut unknown = Vec::new();
    for (key, value) in object {
        let text =
            || text(value).with_context(|| format!("number {} of the list, {key}", index + 1));
        match key.to_ascii_lowercase().as_str() {
            "targetapp" => {
                entry.app = Some(text()?)
                    .filter(|t| !t.is_empty())
                    .map(|t| application(&t))
            }
            "targetapptype" => entry.app_type = Some(text()?).filter(|t| !t.is_empty()),
            "appincludelist" => entry.apps_in = list(&text()?).map(application).collect(),
            "appexcludelist" => entry.apps_out = list(&text()?).map(application).collect(),
            "serviceincludelist" => entry.services_in = list(&text()?).map(str::to_owned).collect(),
            "serviceexcludelist" => {
                entry.services_out = list(&text()?).map(str::to_owned).collect()
            }
            // Every trigger captures, so there is nothing to switch on.
            "dumpprocessonerror" | "dumpprocessonwarning" => {}
            name => match METRICS.iter().position(|metric| metric.key == name) {
                Some(metric) => {
                    let number = number(value).with_context(|| {
                        format!(
                            "number {} of the list, {key}: expected a number, found {value}",
                            index + 1
                        )
                    })?;
                    // FabricObserver takes 0 for "not set".
                    if number != 0.0 {
                        entry.thresholds.insert(metric, number);
                    }
                }
                None => unknown.push((key.clone(), value.clone())),
            },
        }
    }
    for (key, value) in unknown {
        left_out.push(format!(
            "{}: {key} = {value}: Leakhound knows no such setting",
            entry.label()
        ));
    }
    if entry.app.is_none() && entry.app_type.is_none() {
        left_out.push(format!(
            "number {} of the list: neither targetApp nor targetAppType; FabricObserver passes it over too",
            index + 1
        ));
        return Ok(None);
    }
    if let (Some(app), Some(kind)) = (&entry.app, &entry.app_type) {
        left_out.push(format!(
            "{app}: targetAppType = {kind}: targetApp stands beside it and is taken"
        ));
        entry.app_type = None;
    }
    Ok(Some(entry))
}

/// `fabric:/Shop`, also of `Shop`; `*` of `All`.
fn application(name: &str) -> String {
    let name = name.trim();
    if name == "*" || name.eq_ignore_ascii_case("all") {
        return "*".to_owned();
    }
    match name.strip_prefix("fabric:/") {
        Some(_) => name.to_owned(),
        None => format!("fabric:/{name}"),
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn text(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Null => Ok(String::new()),
        other => bail!("expected text, found {other}"),
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if text.trim().is_empty() => 0.0,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null => 0.0,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// JSON without comments and trailing commas; places of mistakes stay where they are.
fn strict(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => {
                out.push(c);
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                let mut before = ' ';
                chars.next();
                for c in chars.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    if c == '\n' {
                        out.push(c);
                    }
                    before = c;
                }
            }
            (']' | '}', _) => {
                let kept = out.trim_end();
                if kept.ends_with(',') {
                    let comma = kept.len() - 1;
                    out.replace_range(comma..=comma, " ");
                }
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// The metric at this place.
pub fn metric(place: usize) -> &'static Metric {
    &METRICS[place]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_passed_over_but_not_within_text() {
        let lenient = "[ // one, two]\n {\"a\": \"x, ] // y\", /* z,\n } */ \"b\": [1, 2, ], },\n]";
        let value: Value = serde_json::from_str(&strict(lenient)).expect("it is strict now");
        assert_eq!(
            value,
            serde_json::json!([{ "a": "x, ] // y", "b": [1, 2] }])
        );
        assert_eq!(strict(lenient).lines().count(), lenient.lines().count());
        for cut in ["[\"", "[\"\\", "[/*", "[//", "[/", ","] {
            assert!(read(cut, &mut LeftOut::default()).is_err(), "{cut}");
        }
    }
}
