//! Counters of a service in a container: who may write to its diagnostics socket reads them, and everybody else is told why not.

use crate::container::Container;
use serde_json::Value;
use std::process::Command;

const QUEUE: &str = "counter(\"Shop-Baskets/queue-length\")";

/// The last of six looks at it, a second apart, of root's rights with these.
fn look(pid: u32, rights: &str) -> Value {
    let when = format!("{QUEUE} > 1_000");
    let output = Command::new("setpriv")
        .arg(format!("--bounding-set={rights}"))
        .arg(env!("CARGO_BIN_EXE_leakhound"))
        .args(["watch", &pid.to_string(), "--when", &when])
        .args(["--format", "json", "--count", "6"])
        .output()
        .expect("setpriv is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let look: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{output:?}"));
    look["processes"][0]["triggers"][0].clone()
}

#[test]
fn counters_of_a_container_are_read_by_who_may_write_to_its_socket() {
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        // Only root makes containers and gives up rights.
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let container = Container::start(folder.path(), "counters");
    let trigger = look(container.pid(), "-all,+sys_ptrace,+dac_override");
    assert_eq!(trigger["conditions"][0]["value"], 3, "{trigger:#}");
    // As the unit and the DaemonSet run it.
    let trigger = look(container.pid(), "-all,+sys_ptrace,+dac_read_search");
    assert_eq!(trigger["truth"], "unknown", "{trigger:#}");
    let why = trigger["unknown"].to_string();
    assert!(why.contains("CAP_DAC_OVERRIDE"), "{why}");
}
