//! The rights that reading another user's process takes on Linux; every unit and manifest under `deploy/` gives these and no others.

/// A capability: its name without `CAP_`, its bit (capabilities(7)), and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// As Kubernetes writes it; systemd puts `CAP_` before it.
    pub name: &'static str,
    /// Its bit in `CapEff` of `/proc/PID/status`.
    pub bit: u32,
    /// What it is for.
    pub purpose: &'static str,
}

/// To stop processes and read their memory.
pub const PTRACE: Capability = Capability {
    name: "SYS_PTRACE",
    bit: 19,
    purpose: "stop a process's threads, read its memory and its map",
};

/// To look into `/proc/PID` of other users.
pub const READ_SEARCH: Capability = Capability {
    name: "DAC_READ_SEARCH",
    bit: 2,
    purpose: "open files of other users in /proc/PID, and the module files that they have mapped",
};

/// All of them.
pub const CAPABILITIES: &[Capability] = &[PTRACE, READ_SEARCH];
