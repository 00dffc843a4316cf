//! Who a process is: id with start time, executable, command line, cgroup, environment.

use leakhound_archive::manifest::{FabricRecord, KubernetesRecord};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A process that cannot be mistaken for another: ids are used again, ids with start times are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id in our pid namespace.
    pub pid: u32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
    /// Start in milliseconds since 1970.
    pub started_ms: i64,
    /// Assembly of `dotnet X.dll`, else file name of the executable, else `comm`.
    pub name: String,
    /// `comm`, at most 15 bytes.
    pub comm: String,
    /// Executable; `None` for kernel threads and foreign processes.
    pub executable: Option<PathBuf>,
    /// Arguments.
    pub arguments: Vec<String>,
    /// Working folder.
    pub folder: Option<PathBuf>,
    /// Path in the memory cgroup.
    pub cgroup: String,
    /// What Kubernetes calls it.
    pub kubernetes: Option<KubernetesRecord>,
    /// `DOTNET_*`, `COMPlus_*`, `Fabric_*`, `TMPDIR` of the environment, nothing else.
    pub environment: BTreeMap<String, String>,
    /// What Service Fabric calls it.
    pub fabric: Option<FabricRecord>,
    /// Id in the process's own pid namespace.
    pub inner_pid: u32,
    /// Real user and group.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// How it is known to be a .NET process; `None` when it is not.
    pub dotnet: Option<DotNet>,
}

/// How a process is known to be a .NET process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DotNet {
    /// The runtime's diagnostics socket as we can reach it.
    pub socket: Option<PathBuf>,
    /// `libcoreclr.so` is mapped from here.
    pub coreclr: Option<PathBuf>,
    /// The executable carries the runtime within itself.
    pub single_file: bool,
}

impl Identity {
    /// The command line in one string with secret shapes masked.
    #[must_use]
    pub fn command_line(&self) -> String {
        crate::mask::command_line(&self.arguments)
    }

    /// A value of the kept environment.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}
