//! What will not work here, and why: the conditions of sampling and capturing, checked.

mod seccomp;
mod triggers;

use crate::capture::estimate;
use crate::config::Config;
use crate::sample::cgroup::Mounts;
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
    let mut out = vec![
        ptrace(),
        user(),
        disk(config, archive),
        cgroups(),
        pressure(),
        page_map(),
    ];
    out.extend(services(config));
    out.extend(folders(config));
    out
}

/// `CAP_SYS_PTRACE` is bit 19.
fn may_trace_all() -> bool {
    capability(19)
}

/// Whether this program has a capability, by its bit.
fn capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let bits = effective.and_then(|b| u64::from_str_radix(b.trim(), 16).ok());
    bits.is_some_and(|b| b >> bit & 1 == 1)
}

fn ptrace() -> Check {
    const NAME: &str = "ptrace";
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let scope = scope.as_deref().map(str::trim);
    let advice = "Give the agent CAP_SYS_PTRACE (systemd: AmbientCapabilities=CAP_SYS_PTRACE; containers: cap_add SYS_PTRACE). Until then services are captured by their own runtime, with a longer pause.";
    match (may_trace_all(), scope) {
        (_, Some("3")) => check(
            NAME,
            Health::Fail,
            "kernel.yama.ptrace_scope is 3: no process may be traced until the next boot.".into(),
            "Set kernel.yama.ptrace_scope to at most 2 and boot, or capture with method = \"runtime\".",
        ),
        (true, _) => check(NAME, Health::Ok, "Every process may be stopped and read (CAP_SYS_PTRACE).".into(), ""),
        (false, None | Some("0")) => check(
            NAME,
            Health::Warn,
            "Without CAP_SYS_PTRACE only processes of the agent's own user can be stopped and read.".into(),
            advice,
        ),
        (false, Some(scope)) => check(
            NAME,
            Health::Fail,
            format!("CAP_SYS_PTRACE is missing and kernel.yama.ptrace_scope is {scope}: no service can be stopped and read."),
            advice,
        ),
    }
}

fn user() -> Check {
    // SAFETY: asks for our own id.
    let me = unsafe { libc::geteuid() };
    let services = crate::discover::all()
        .into_iter()
        .filter(|i| i.dotnet.is_some());
    let foreign: Vec<String> = services.filter(|i| i.uid != me).map(|i| i.name).collect();
    let powerful = me == 0 || may_trace_all();
    if foreign.is_empty() || powerful {
        return check(
            "user",
            Health::Ok,
            format!("Running as user {me}; every .NET process found can be read."),
            "",
        );
    }
    check(
        "user",
        Health::Fail,
        format!(
            "{} .NET processes belong to other users: {}.",
            foreign.len(),
            foreign.join(", ")
        ),
        "Run the agent as root or as the user of the services, or give it CAP_SYS_PTRACE.",
    )
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

fn cgroups() -> Check {
    const NAME: &str = "cgroup";
    let mounts = Mounts::find();
    let advice = "Mount /sys/fs/cgroup into the agent's container (read-only is enough); until then limits are unknown and triggers on limit_share do not fire.";
    let version = match (&mounts.v1, &mounts.v2) {
        (None, None) => {
            return check(
                NAME,
                Health::Warn,
                "No memory cgroup is visible: limits of services are unknown.".into(),
                advice,
            );
        }
        (Some(_), _) => "1",
        (None, Some(_)) => "2",
    };
    let place = mounts.v1.as_ref().or(mounts.v2.as_ref());
    let readable = place.is_some_and(|(point, _)| fs::read_dir(point).is_ok());
    if readable {
        check(
            NAME,
            Health::Ok,
            format!("Memory limits are read from cgroup version {version}."),
            "",
        )
    } else {
        check(
            NAME,
            Health::Warn,
            format!("The cgroup tree (version {version}) cannot be listed."),
            advice,
        )
    }
}

fn pressure() -> Check {
    match fs::read_to_string("/proc/pressure/memory") {
        Ok(_) => check(
            "pressure",
            Health::Ok,
            "Memory pressure (PSI) is available.".into(),
            "",
        ),
        Err(e) => check(
            "pressure",
            Health::Warn,
            format!(
                "Memory pressure (PSI) is not available ({e}); triggers on memory_pressure do not fire."
            ),
            "Boot with psi=1 (Linux 4.20 or later).",
        ),
    }
}

fn page_map() -> Check {
    match fs::File::open("/proc/self/pagemap") {
        Ok(_) => check(
            "page map",
            Health::Ok,
            "Untouched pages can be told from used ones.".into(),
            "",
        ),
        Err(e) => check(
            "page map",
            Health::Warn,
            format!(
                "/proc/PID/pagemap cannot be read ({e}): untouched pages are read too, which takes longer."
            ),
            "Mount /proc without hidepid, and do not mask it in the container.",
        ),
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
        out.extend(seccomp::checks(&config.capture, service, &found));
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
            out.push(check(
                "service",
                health,
                sentence,
                "Give the agent CAP_SYS_PTRACE, or run it as the service's user.",
            ));
        }
    }
    out
}

fn folders(config: &Config) -> Vec<Check> {
    let folders = config.adopt.folders.iter();
    folders
        .map(|folder| match fs::read_dir(folder) {
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
        })
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
