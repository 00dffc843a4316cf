//! Entries to services. The first service that matches a process owns it, so the narrower ones come first and take over what the
//! wider ones say besides, as FabricObserver does.

use super::LeftOut;
use super::json::{Entry, metric};
use super::metric::{Meaning, Metric};
use super::settings::Capture;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A `[[service]]`.
pub struct Service {
    name: String,
    matcher: Vec<(&'static str, Vec<String>)>,
    triggers: Vec<(String, String)>,
    comments: Vec<String>,
    limit: Option<String>,
    kind: Option<&'static str>,
}

/// Which processes an entry speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// `fabric:/Shop/Cart`.
    Service(String),
    /// `fabric:/Shop`.
    Application(String),
    /// `ShopType`.
    Type(String),
    /// All of the cluster.
    All,
}

/// An entry for one scope.
struct Part {
    scope: Scope,
    except: Vec<String>,
    thresholds: BTreeMap<usize, f64>,
    /// The application that a service belongs to.
    application: Option<String>,
}

/// The services of a file, in the order in which they must stand.
pub fn of(entries: &[Entry], capture: &Capture, left_out: &mut LeftOut) -> Vec<Service> {
    let mut parts: Vec<Part> = Vec::new();
    for entry in entries {
        for part in split(entry, left_out) {
            merge(&mut parts, part, left_out);
        }
    }
    // Who is left out of an application's entry is left out: the entry for all does not take it.
    let left: Vec<String> = parts
        .iter()
        .filter(|part| part.scope != Scope::All)
        .flat_map(|part| part.except.clone())
        .collect();
    if let Some(all) = parts.iter_mut().find(|part| part.scope == Scope::All) {
        all.except.extend(left);
        let mut seen = BTreeSet::new();
        all.except.retain(|name| seen.insert(name.clone()));
    }
    // Stable: within a kind the order of the file stays.
    parts.sort_by_key(|part| match part.scope {
        Scope::Service(_) => 0,
        Scope::Application(_) => 1,
        Scope::Type(_) => 2,
        Scope::All => 3,
    });
    let inherited: Vec<BTreeMap<usize, f64>> =
        parts.iter().map(|part| whole(part, &parts)).collect();
    parts
        .iter()
        .zip(inherited)
        .map(|(part, thresholds)| service(part, &thresholds, capture, left_out))
        .collect()
}

/// One part for each scope that an entry names.
fn split(entry: &Entry, left_out: &mut LeftOut) -> Vec<Part> {
    let label = entry.label();
    let part = |scope, except, application| Part {
        scope,
        except,
        thresholds: entry.thresholds.clone(),
        application,
    };
    let is_all = entry.app.as_deref() == Some("*");
    let names_apps = !entry.apps_in.is_empty() || !entry.apps_out.is_empty();
    if !is_all && names_apps {
        left_out.push(format!(
            "{label}: appIncludeList and appExcludeList mean something beside targetApp = * only"
        ));
    }
    match (&entry.app, &entry.app_type) {
        (Some(app), _) if !is_all => {
            let full = |name: &String| match name.strip_prefix("fabric:/") {
                Some(_) => name.clone(),
                None => format!("{app}/{name}"),
            };
            let except: Vec<String> = entry.services_out.iter().map(full).collect();
            if entry.services_in.is_empty() {
                return vec![part(Scope::Application(app.clone()), except, None)];
            }
            let services = entry.services_in.iter().map(full);
            services
                .filter(|service| !except.contains(service))
                .map(|service| part(Scope::Service(service), Vec::new(), Some(app.clone())))
                .collect()
        }
        (None, Some(kind)) => {
            let except = patterns(&entry.services_out);
            if !entry.services_in.is_empty() {
                let services = patterns(&entry.services_in);
                return services
                    .into_iter()
                    .map(|service| part(Scope::Service(service), except.clone(), None))
                    .collect();
            }
            vec![part(Scope::Type(kind.clone()), except, None)]
        }
        _ => {
            let mut except = patterns(&entry.services_out);
            if !entry.services_in.is_empty() {
                let services = patterns(&entry.services_in);
                return services
                    .into_iter()
                    .map(|service| part(Scope::Service(service), except.clone(), None))
                    .collect();
            }
            if !entry.apps_in.is_empty() {
                let apps = entry
                    .apps_in
                    .iter()
                    .filter(|app| !entry.apps_out.contains(app));
                return apps
                    .map(|app| part(Scope::Application(app.clone()), except.clone(), None))
                    .collect();
            }
            except.extend(
                entry
                    .apps_out
                    .iter()
                    .flat_map(|app| [app.clone(), format!("{app}/*")]),
            );
            vec![part(Scope::All, except, None)]
        }
    }
}

/// Names of services in whatever application.
fn patterns(names: &[String]) -> Vec<String> {
    let full = |name: &String| match name.strip_prefix("fabric:/") {
        Some(_) => name.clone(),
        None => format!("fabric:/*/{name}"),
    };
    names.iter().map(full).collect()
}

/// Two entries for one scope are one; what they say differently is named.
fn merge(parts: &mut Vec<Part>, part: Part, left_out: &mut LeftOut) {
    let Some(earlier) = parts.iter_mut().find(|earlier| earlier.scope == part.scope) else {
        parts.push(part);
        return;
    };
    for except in part.except {
        if !earlier.except.contains(&except) {
            earlier.except.push(except);
        }
    }
    for (place, threshold) in part.thresholds {
        let first = *earlier.thresholds.entry(place).or_insert(threshold);
        if first != threshold {
            left_out.push(format!(
                "{}: {} is given twice; {first} is taken, not {threshold}",
                title(&earlier.scope),
                metric(place).key
            ));
        }
    }
}

/// Its own thresholds, and those of wider parts for what it does not speak of.
fn whole(part: &Part, parts: &[Part]) -> BTreeMap<usize, f64> {
    let mut thresholds = part.thresholds.clone();
    let wider = |scope: &Scope| match (&part.scope, scope) {
        (Scope::All, _) => false,
        (_, Scope::All) => true,
        (Scope::Service(_), Scope::Application(app)) => part.application.as_ref() == Some(app),
        _ => false,
    };
    let own = match &part.scope {
        Scope::Service(name) | Scope::Application(name) => Some(name),
        _ => None,
    };
    let names: Vec<&String> = own.into_iter().chain(&part.application).collect();
    let is_left_out = |other: &Part| names.iter().any(|name| other.except.contains(name));
    for other in parts
        .iter()
        .filter(|other| wider(&other.scope) && !is_left_out(other))
    {
        for (place, threshold) in &other.thresholds {
            thresholds.entry(*place).or_insert(*threshold);
        }
    }
    thresholds
}

fn title(scope: &Scope) -> String {
    match scope {
        Scope::Service(name) => name.clone(),
        Scope::Application(name) => format!("{name}/*"),
        Scope::Type(name) => format!("fabric:/* of {name}"),
        Scope::All => "fabric:/*".to_owned(),
    }
}

fn service(
    part: &Part,
    thresholds: &BTreeMap<usize, f64>,
    capture: &Capture,
    left_out: &mut LeftOut,
) -> Service {
    let name = title(&part.scope);
    let mut matcher = match &part.scope {
        Scope::Service(name) => vec![("service", vec![name.clone()])],
        Scope::Application(app) => vec![("application", vec![app.clone()])],
        Scope::Type(kind) => vec![("application_type", vec![kind.clone()])],
        Scope::All => vec![("fabric", vec!["fabric:/*".to_owned()])],
    };
    if !part.except.is_empty() {
        matcher.push(("except", part.except.clone()));
    }
    let mut service = Service {
        name,
        matcher,
        triggers: Vec::new(),
        comments: Vec::new(),
        limit: capture.limit.clone(),
        kind: capture.kind,
    };
    for (place, threshold) in thresholds {
        let known = metric(*place);
        match when(known, *threshold, capture) {
            Ok(when) => service.triggers.push((known.name.to_owned(), when)),
            Err(why) => {
                // Said once where it was written, and as a comment wherever it would hold.
                let sentence = format!("{} = {threshold}: {why}", known.key);
                if part.thresholds.contains_key(place) {
                    left_out.push(format!("{}: {sentence}", service.name));
                }
                service.comments.push(sentence);
            }
        }
    }
    // Old and new name of one metric.
    service.triggers.dedup_by(|a, b| a == b);
    number_equal_names(&mut service.triggers);
    service
}

/// Triggers of a service have names of their own.
fn number_equal_names(triggers: &mut [(String, String)]) {
    for index in 1..triggers.len() {
        let (before, rest) = triggers.split_at_mut(index);
        let name = &mut rest[0].0;
        if before.iter().any(|(earlier, _)| earlier == name) {
            name.push_str(", again");
        }
    }
}

fn when(metric: &Metric, threshold: f64, capture: &Capture) -> Result<String, &'static str> {
    if threshold < 0.0 {
        return Err("it is below 0, and no threshold");
    }
    let lasting = capture.lasting_s;
    let working_set = if capture.private {
        "private_bytes"
    } else {
        "rss"
    };
    let compared = match metric.meaning {
        Meaning::None(why) => return Err(why),
        Meaning::Percent(_) | Meaning::WorkingSetShare if threshold > 100.0 => {
            return Err("it is above 100%, which never holds: no trigger");
        }
        Meaning::Percent(fact) => format!("{fact} > {threshold}%"),
        Meaning::Count(fact) => format!("{fact} > {threshold}"),
        Meaning::Megabytes(fact) => format!("{fact} > {threshold} MiB"),
        Meaning::WorkingSet => format!("{working_set} > {threshold} MiB"),
        Meaning::WorkingSetShare => format!("{working_set} > {threshold}% of node.memory"),
    };
    Ok(format!("{compared} for {lasting} s"))
}

impl Service {
    /// As the configuration has it.
    pub fn write(&self, out: &mut String) {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let _ = writeln!(out, "[[service]]\nname = {}", text(&self.name));
        let matchers: Vec<String> = self
            .matcher
            .iter()
            .map(|(key, values)| match (values.as_slice(), *key) {
                ([one], key) if key != "except" => format!("{key} = {}", text(one)),
                (all, key) => {
                    let all: Vec<String> = all.iter().map(|value| text(value)).collect();
                    format!("{key} = [{}]", all.join(", "))
                }
            })
            .collect();
        let _ = writeln!(out, "match = {{ {} }}", matchers.join(", "));
        if let Some(limit) = &self.limit {
            let _ = writeln!(out, "limit = {}", text(limit));
        }
        if let Some(kind) = self.kind {
            let _ = writeln!(out, "kind = {}", text(kind));
        }
        for comment in &self.comments {
            let _ = writeln!(out, "# {comment}");
        }
        if self.triggers.is_empty() {
            out.push_str("# No threshold of it has a counterpart: it is watched with the default triggers.\n");
        }
        for (name, when) in &self.triggers {
            let _ = writeln!(
                out,
                "[[service.trigger]]\nname = {}\nwhen = {}",
                text(name),
                text(when)
            );
        }
    }
}
