//! Whether the seccomp filters of services can be read. A snapshot makes one thread of the service call `clone`, and
//! a filter may answer an unforeseen call by killing; so where a filter cannot be read, no snapshot is taken.

use super::{Check, Health, capability, check};
use crate::capture::Content;
use crate::config::{CaptureConfig, MethodChoice, ServiceConfig};
use crate::identity::Identity;
use std::fs;

const NAME: &str = "seccomp";
/// `CAP_SYS_ADMIN`.
const ADMIN_BIT: u32 = 21;

/// What filters mean for the processes of a service; nothing where there are none, or none matters.
pub(super) fn checks(
    capture: &CaptureConfig,
    service: &ServiceConfig,
    processes: &[&Identity],
) -> Vec<Check> {
    let snapshots = matches!(capture.method, MethodChoice::Auto | MethodChoice::Snapshot);
    if !snapshots || Content::of(service.kind).is_none() || !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let Some(obstacle) = obstacle(capability(ADMIN_BIT), has_filter("self")) else {
        return Vec::new();
    };
    let filtered = processes.iter().filter(|p| has_filter(&p.pid.to_string()));
    filtered
        .map(|process| {
            let instead = match capture.method {
                MethodChoice::Auto => "it is captured by stop-and-stream, with a pause that grows with its memory",
                _ => "it cannot be captured by snapshot",
            };
            let sentence = format!(
                "Service `{}`: process {} has a seccomp filter, and {obstacle}: {instead}.",
                service.name.text, process.pid
            );
            check(
                NAME,
                Health::Warn,
                sentence,
                "Give the agent CAP_SYS_ADMIN and no filter of its own, so that it can tell whether the service's filter permits a snapshot.",
            )
        })
        .collect()
}

/// Why filters of others cannot be read (Linux, kernel/seccomp.c `seccomp_get_filter`).
fn obstacle(is_admin: bool, is_filtered: bool) -> Option<&'static str> {
    match (is_admin, is_filtered) {
        (false, _) => Some("the agent has no CAP_SYS_ADMIN to read it with"),
        (true, true) => Some("the agent, which runs under a filter itself, may not read it"),
        (true, false) => None,
    }
}

/// `Seccomp: 2` in the status of a process.
fn has_filter(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    is_filtered(&status)
}

fn is_filtered(status: &str) -> bool {
    let mode = status.lines().find_map(|l| l.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_only_by_an_unfiltered_admin() {
        assert!(obstacle(true, false).is_none());
        assert!(obstacle(false, false).is_some_and(|o| o.contains("CAP_SYS_ADMIN")));
        assert!(obstacle(true, true).is_some_and(|o| o.contains("itself")));
    }

    #[test]
    fn the_mode_stands_in_the_status() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
        assert!(!is_filtered("Name:\tx\n"));
    }
}
