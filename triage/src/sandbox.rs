//! What the parser child may still do once it holds its dump: compute, allocate up to a limit, read, answer.
//!
//! A dump is hostile input. Each layer that the kernel offers is applied on its own, and the child reports which
//! ones took effect, because an old kernel or a container may offer none of them.

use std::path::PathBuf;

/// What the child asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Private memory the child may hold, in bytes.
    pub memory_limit_bytes: u64,
    /// Files and folders that may be read: the dump, its manifest, module files.
    pub readable: Vec<PathBuf>,
}

/// Which layers took effect, one word or sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Layers in force.
    pub layers: Vec<String>,
    /// Layers that the system refused, and why.
    pub missing: Vec<String>,
}

impl Applied {
    fn note(&mut self, layer: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.layers.push(layer.to_owned()),
            Err(why) => self.missing.push(format!("{layer}: {why}")),
        }
    }
}

/// Gives up everything the parser does not need. Cannot be undone.
#[must_use]
pub fn enter(policy: &Policy) -> Applied {
    let mut applied = Applied::default();
    imp::enter(policy, &mut applied);
    applied
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{Applied, Policy};
    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
        path_beneath_rules,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    pub fn enter(policy: &Policy, applied: &mut Applied) {
        applied.note("low priority", low_priority());
        applied.note("memory limit", limits(policy.memory_limit_bytes));
        applied.note("landlock", landlock(&policy.readable));
        applied.note("seccomp", seccomp());
    }

    fn last_error() -> String {
        std::io::Error::last_os_error().to_string()
    }

    fn check(result: libc::c_int) -> Result<(), String> {
        if result == 0 {
            Ok(())
        } else {
            Err(last_error())
        }
    }

    /// Nice 10 and the idle half of best-effort I/O: triage never competes with the service it serves.
    fn low_priority() -> Result<(), String> {
        const IOPRIO_WHO_PROCESS: libc::c_int = 1;
        const BEST_EFFORT_LOWEST: libc::c_int = (2 << 13) | 7;
        // SAFETY: plain system calls on the calling process, no memory is passed.
        unsafe {
            check(libc::setpriority(libc::PRIO_PROCESS, 0, 10))?;
            let result = libc::syscall(
                libc::SYS_ioprio_set,
                IOPRIO_WHO_PROCESS,
                0,
                BEST_EFFORT_LOWEST,
            );
            if result == 0 {
                Ok(())
            } else {
                Err(last_error())
            }
        }
    }

    fn limit(resource: libc::__rlimit_resource_t, bytes: u64) -> Result<(), String> {
        let value = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: bytes,
        };
        // SAFETY: `value` outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const value) })
    }

    /// `RLIMIT_DATA` counts private writable memory only (since Linux 4.7), so a mapped dump of any size is free
    /// while everything that a lying dump could make the parser allocate is not.
    fn limits(memory_bytes: u64) -> Result<(), String> {
        limit(libc::RLIMIT_DATA, memory_bytes)?;
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_FSIZE, 0)?;
        limit(libc::RLIMIT_NOFILE, 256)
    }

    fn landlock(readable: &[PathBuf]) -> Result<(), String> {
        // Thread pools ask these how many processors they may use; they hold nothing of the user's.
        const PROCESSORS: [&str; 3] = ["/proc/self", "/sys/fs/cgroup", "/sys/devices/system/cpu"];
        let abi = ABI::V5;
        let apply = || -> Result<RulesetStatus, landlock::RulesetError> {
            let files = readable.iter().map(PathBuf::as_path);
            let paths = files.chain(PROCESSORS.iter().map(Path::new));
            let ruleset = Ruleset::default()
                .handle_access(AccessFs::from_all(abi))?
                .handle_access(AccessNet::from_all(abi))?
                .create()?
                .add_rules(path_beneath_rules(
                    paths,
                    AccessFs::ReadFile | AccessFs::ReadDir,
                ))?;
            Ok(ruleset.restrict_self()?.ruleset)
        };
        match apply().map_err(|e| e.to_string())? {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err("the kernel does not offer it".to_owned()),
        }
    }

    /// Memory, threads, reading, the answer on standard output, time, and the exit.
    const ALLOWED: &[libc::c_long] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_newfstatat,
        libc::SYS_prctl,
        libc::SYS_pread64,
        libc::SYS_read,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_tgkill,
        libc::SYS_write,
        libc::SYS_writev,
    ];

    /// For module files and for `/proc/self` (thread pools ask for the cgroup's processors); landlock bounds both.
    const ALLOWED_FILES: &[libc::c_long] = &[
        libc::SYS_openat,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_fcntl,
    ];

    fn seccomp() -> Result<(), String> {
        let rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
            .iter()
            .chain(ALLOWED_FILES)
            .map(|nr| (*nr, vec![]))
            .collect();
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
            std::env::consts::ARCH
                .try_into()
                .map_err(|e| format!("{e:?}"))?,
        )
        .map_err(|e| e.to_string())?;
        let program: BpfProgram = filter.try_into().map_err(|e| format!("{e:?}"))?;
        seccompiler::apply_filter_all_threads(&program).map_err(|e| e.to_string())
    }
}

#[cfg(windows)]
#[path = "sandbox/windows.rs"]
mod imp;

#[cfg(not(any(target_os = "linux", windows)))]
mod imp {
    use super::{Applied, Policy};

    pub fn enter(_policy: &Policy, applied: &mut Applied) {
        applied.note("sandbox", Err("not built for this system yet".to_owned()));
    }
}
