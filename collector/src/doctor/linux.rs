//! The conditions that Linux sets.

mod seccomp;

use super::{Check, Health, check};
use crate::config::{CaptureConfig, ServiceConfig};
use crate::identity::Identity;
use crate::rights;
use crate::sample::cgroup::Mounts;
use std::fs;

/// What to do when a service cannot be captured.
pub(super) const RIGHTS: &str = "Give the agent CAP_SYS_PTRACE, or run it as the service's user.";

pub(super) fn checks() -> Vec<Check> {
    vec![ptrace(), user(), cgroups(), pressure(), page_map()]
}

/// What a service's own settings mean for its captures.
pub(super) fn service_checks(
    capture: &CaptureConfig,
    service: &ServiceConfig,
    processes: &[&Identity],
) -> Vec<Check> {
    seccomp::checks(capture, service, processes)
}

fn may_trace_all() -> bool {
    capability(rights::PTRACE.bit)
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
