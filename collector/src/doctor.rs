//! What will not work here, and why: the conditions of sampling and capturing, checked.

#[cfg_attr(windows, path = "windows/doctor.rs")]
#[cfg_attr(not(windows), path = "doctor/linux.rs")]
mod system;
mod triggers;

use crate::adopt;
use crate::capture::estimate;
use crate::config::Config;
use leakhound_rules::units::format_bytes;
use std::fs;
use std::path::Path;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It works.
    Ok,
    /// Something works less well than it could.
    Warn,
    /// Something will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// How it stands.
    pub health: Health,
    /// What was found, one sentence.
    pub sentence: String,
    /// What to do; empty when nothing needs to be done.
    pub advice: String,
}

fn check(check: &'static str, health: Health, sentence: String, advice: &str) -> Check {
    Check {
        check,
        health,
        sentence,
        advice: if health == Health::Ok {
            String::new()
        } else {
            advice.to_owned()
        },
    }
}

/// All checks of the collector. Nothing is stopped or changed.
#[must_use]
pub fn checks(config: &Config, archive: &Path) -> Vec<Check> {
    let mut out = system::checks();
    out.push(disk(config, archive));
    out.extend(services(config));
    out.extend(folders(config));
    out
}

fn disk(config: &Config, archive: &Path) -> Check {
    const NAME: &str = "disk";
    // The archive may not exist yet: its nearest existing parent has the same volume.
    let folder = archive
        .ancestors()
        .find(|p| p.is_dir())
        .unwrap_or(Path::new("/"));
    let advice =
        "Free some space, move archive.location to a larger volume, or lower capture.reserve.";
    match estimate::room(folder, 0, config.capture.reserve) {
        Err(e) => check(
            NAME,
            Health::Fail,
            format!("{} cannot be examined: {e}.", folder.display()),
            advice,
        ),
        Ok(room) => {
            let free = format_bytes(room.free_bytes as f64);
            let reserve = format_bytes(room.reserve_bytes as f64);
            let sentence = format!(
                "{} has {free} free; {reserve} are kept in reserve.",
                folder.display()
            );
            let health = match room.free_bytes.saturating_sub(room.reserve_bytes) {
                _ if !room.fits => Health::Fail,
                0..1_000_000_000 => Health::Warn,
                _ => Health::Ok,
            };
            check(NAME, health, sentence, advice)
        }
    }
}

/// What each configured service would meet now.
fn services(config: &Config) -> Vec<Check> {
    let processes = crate::discover::all();
    let mut out = Vec::new();
    for service in &config.service {
        let name = &service.name.text;
        let mine = |p: &&crate::identity::Identity| {
            crate::discover::matcher::owner(&config.service, p)
                .is_some_and(|(s, _)| s.name == service.name)
        };
        let found: Vec<_> = processes.iter().filter(mine).collect();
        if found.is_empty() {
            let sentence = format!("No process matches service `{name}` now.");
            out.push(check(
                "service",
                Health::Warn,
                sentence,
                "Start it, or look at its matchers: `leakhound ps` shows what processes look like.",
            ));
            continue;
        }
        out.extend(triggers::checks(service, &found));
        out.extend(system::service_checks(&config.capture, service, &found));
        for process in found {
            let content =
                crate::capture::Content::of(service.kind).unwrap_or(crate::capture::Content::Heap);
            let (health, sentence) =
                match crate::capture::choose(config.capture.method, content, process) {
                    Ok((method, passed)) => {
                        let health = if passed.is_empty() {
                            Health::Ok
                        } else {
                            Health::Warn
                        };
                        let more = if passed.is_empty() {
                            String::new()
                        } else {
                            format!(" ({})", passed.join("; "))
                        };
                        (
                            health,
                            format!(
                                "Service `{name}`: process {} is captured by {}{more}.",
                                process.pid,
                                method.name()
                            ),
                        )
                    }
                    Err(e) => (Health::Fail, format!("Service `{name}`: {e}.")),
                };
            out.push(check("service", health, sentence, system::RIGHTS));
        }
    }
    out
}

fn folders(config: &Config) -> Vec<Check> {
    let folders = config.adopt.folders.iter();
    folders
        .map(
            |folder| match fs::read_dir(adopt::each_subfolder_of(folder).unwrap_or(folder)) {
                Ok(_) => check(
                    "adopt",
                    Health::Ok,
                    format!("{} is watched for dumps.", folder.display()),
                    "",
                ),
                Err(e) => check(
                    "adopt",
                    Health::Fail,
                    format!("{} cannot be listed: {e}.", folder.display()),
                    "Create the folder, or let the agent read it.",
                ),
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Reserve, ServiceConfig};

    #[test]
    fn a_full_disk_a_missing_service_and_a_missing_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.capture.reserve = Reserve::Bytes(u64::MAX);
        config.service.push(ServiceConfig::named("no-such-service"));
        config.adopt.folders.push(folder.path().join("missing"));
        let checks = checks(&config, &folder.path().join("not/yet"));
        let find = |name: &str| checks.iter().find(|c| c.check == name).unwrap();
        assert_eq!(find("disk").health, Health::Fail);
        assert_eq!(find("service").health, Health::Warn);
        assert_eq!(find("adopt").health, Health::Fail);
        assert!(
            checks
                .iter()
                .all(|c| (c.health == Health::Ok) == c.advice.is_empty())
        );
    }
}
