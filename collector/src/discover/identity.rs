//! `/proc/PID` to [`Identity`].

use super::single_file::SingleFileCache;
use super::{kubernetes, naming};
use crate::fabric;
use crate::identity::{DotNet, Identity};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes read of a command line or an environment; Linux allows megabytes, names need none.
const MAX_TEXT: u64 = 256 * 1024;

/// Start of a process in clock ticks since boot (field 22 of `stat`).
///
/// # Errors
/// The process is gone.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat_field(&stat, 22)
        .and_then(|f| f.parse().ok())
        .ok_or_else(|| io::Error::other("no start time in stat"))
}

/// A field of `stat` by its number in proc(5); those after the name, which may hold spaces and parentheses.
pub(crate) fn stat_field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(number.checked_sub(3)?)
}

/// The error of a process that is gone.
pub(crate) fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

/// Whether an error says that the process is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// All process ids, ascending.
pub(super) fn process_ids() -> Vec<u32> {
    let mut ids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids
}

/// True while the process has memory: not gone, not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat_field(&stat, 3).is_some_and(|state| !matches!(state, "Z" | "X" | "x"))
}

/// Whether it is the copy of a service that a capture works on, by this program or another run of it: it looks like the service in
/// every way, and is none. A service may be taken for one while its threads are stopped, so this is to be asked again later.
pub(super) fn is_copy(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status_words(&status, "TracerPid:").first().copied();
    let program = |pid: &str| {
        let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((file.dev(), file.ino()))
    };
    tracer.filter(|tracer| *tracer != 0).is_some_and(|tracer| {
        let theirs = program(&tracer.to_string());
        theirs.is_some() && theirs == program("self")
    })
}

/// Reads who `pid` is.
///
/// # Errors
/// The process is gone.
pub fn read(pid: u32, cache: &mut SingleFileCache) -> io::Result<Identity> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let start_ticks = start_ticks(pid)?;
    let executable = fs::read_link(root.join("exe")).ok();
    let arguments = list(&root.join("cmdline"));
    let all_variables = list(&root.join("environ"));
    let environment = naming::kept_environment(&all_variables);
    let comm = fs::read_to_string(root.join("comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    let status = fs::read_to_string(root.join("status")).unwrap_or_default();
    let inner_pid = status_words(&status, "NSpid:")
        .last()
        .copied()
        .unwrap_or(pid);
    let (inner_pid, uid, gid) = (
        inner_pid,
        status_words(&status, "Uid:").first().copied().unwrap_or(0),
        status_words(&status, "Gid:").first().copied().unwrap_or(0),
    );
    let cgroup = fs::read_to_string(root.join("cgroup")).unwrap_or_default();
    let cgroup = memory_cgroup(&cgroup);
    let links = Path::new(kubernetes::LINKS);
    let kubernetes = kubernetes::of(cgroup, &root.join("root"), &all_variables, links);
    let mut identity = Identity {
        pid,
        start_ticks,
        started_ms: started_ms(start_ticks),
        name: naming::name_of(&arguments, executable.as_deref(), &comm),
        comm,
        executable,
        arguments,
        folder: fs::read_link(root.join("cwd")).ok(),
        cgroup: cgroup.to_owned(),
        kubernetes,
        environment,
        fabric: None,
        inner_pid,
        uid,
        gid,
        dotnet: None,
    };
    let places = [identity.executable.as_deref(), identity.folder.as_deref()];
    identity.fabric = fabric::of_environment(&identity.environment, &places);
    identity.dotnet = dotnet(&identity, cache);
    Ok(identity)
}

/// What makes it a .NET process: its socket, the mapped runtime, or a runtime within the executable.
fn dotnet(identity: &Identity, cache: &mut SingleFileCache) -> Option<DotNet> {
    let coreclr = mapped_coreclr(identity.pid);
    let single_file = coreclr.is_none() && cache.is_single_file(identity.pid);
    let socket = super::socket::find(identity, coreclr.is_some() || single_file);
    (coreclr.is_some() || socket.is_some() || single_file).then_some(DotNet {
        socket,
        coreclr,
        single_file,
    })
}

/// The path of a mapped `libcoreclr.so`. `maps` is cheap here: it is read once per process.
fn mapped_coreclr(pid: u32) -> Option<PathBuf> {
    let mut text = Vec::new();
    let maps = File::open(format!("/proc/{pid}/maps")).ok()?;
    // 64 MiB are half a million mappings; what comes after is not looked at.
    maps.take(64 << 20).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|l| l.ends_with("/libcoreclr.so"))?;
    line.find('/').map(|at| PathBuf::from(&line[at..]))
}

/// Strings that end with NUL.
fn list(path: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // A process that is just starting or ending gives an error halfway: what came is what there is.
        let _ = file.take(MAX_TEXT).read_to_end(&mut bytes);
    }
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|b| *b == 0)
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .collect()
}

/// Numbers of a line of `status`.
fn status_words(status: &str, key: &str) -> Vec<u32> {
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(key))
        .unwrap_or_default();
    line.split_ascii_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect()
}

/// The path of the memory cgroup: of the `memory` controller (v1), else the unified one (v2).
pub(crate) fn memory_cgroup(text: &str) -> &str {
    let mut unified = "/";
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next(), fields.next(), fields.next());
        let (Some(id), Some(controllers), Some(path)) = (id, controllers, path) else {
            continue;
        };
        if controllers.split(',').any(|c| c == "memory") {
            return path;
        }
        if id == "0" && controllers.is_empty() {
            unified = path;
        }
    }
    unified
}

/// Milliseconds since 1970 of a start time.
fn started_ms(start_ticks: u64) -> i64 {
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot_s: u64 = boot
        .lines()
        .find_map(|l| l.strip_prefix("btime "))
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0);
    let ms = boot_s * 1000 + start_ticks * 1000 / ticks_per_second();
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Clock ticks per second, 100 on every Linux in use.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant of the system.
    let n = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(n).ok().filter(|n| *n > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cgroups_of_both_versions_are_found() {
        assert_eq!(
            memory_cgroup("9:name=systemd:/\n4:memory:/a/b\n0::/c\n"),
            "/a/b"
        );
        assert_eq!(
            memory_cgroup("0::/system.slice/cart.service\n"),
            "/system.slice/cart.service"
        );
        assert_eq!(memory_cgroup(""), "/");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(stat_field("7 (a) b) R 1 2 3", 3), Some("R"));
        assert_eq!(stat_field("7 (a) b) R 1 2 3", 4), Some("1"));
        assert_eq!(stat_field("7 (a) b) R 1 2 3", 22), None);
    }

    #[test]
    fn we_know_ourselves() {
        let me = read(std::process::id(), &mut SingleFileCache::default()).unwrap();
        assert_eq!(
            me.inner_pid,
            status_words(&fs::read_to_string("/proc/self/status").unwrap(), "NSpid:")
                .last()
                .copied()
                .unwrap()
        );
        assert!(me.start_ticks > 0 && me.started_ms > 0);
        assert_eq!(me.dotnet, None);
        assert!(!me.environment.contains_key("PATH"));
    }
}
