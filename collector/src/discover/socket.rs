//! The runtime's diagnostics socket: `/tmp/dotnet-diagnostic-PID-KEY-socket`.

use crate::identity::Identity;
use std::fs;
use std::path::{Path, PathBuf};

/// Where sockets lie unless `TMPDIR` says otherwise.
pub const FOLDER: &str = "/tmp";
/// Names looked at in a folder for temporary files.
const MAX_ENTRIES: usize = 100_000;

/// The socket of a process as we can reach it, through its own mount namespace.
///
/// The name holds the id in the innermost pid namespace and the start time, which keeps the socket of an
/// earlier process of the same id apart. In another time namespace the start time is another one; then, for
/// a process that is known to run .NET (`may_differ`), the folder is searched.
#[must_use]
pub fn find(identity: &Identity, may_differ: bool) -> Option<PathBuf> {
    let temporary = identity
        .env("TMPDIR")
        .filter(|t| t.starts_with('/'))
        .unwrap_or(FOLDER);
    let folder = PathBuf::from(format!(
        "/proc/{}/root/{}",
        identity.pid,
        temporary.trim_start_matches('/')
    ));
    // The key in the name is the start time in ticks since boot; a name that fits needs no listing.
    let prefix = format!("dotnet-diagnostic-{}-", identity.inner_pid);
    let exact = folder.join(format!("{prefix}{}-socket", identity.start_ticks));
    if exact.exists() {
        return Some(exact);
    }
    if !may_differ {
        return None;
    }
    let mut found: Vec<PathBuf> = names(&folder)
        .filter(|name| name.starts_with(&prefix) && name.ends_with("-socket"))
        .map(|name| folder.join(name))
        .collect();
    // Sockets of dead processes stay behind: the newest is the living one's.
    found.sort_by_key(|p| fs::metadata(p).and_then(|m| m.modified()).ok());
    found.pop()
}

/// Ids (in the innermost namespace) that sockets in a folder name, to see new processes without asking each.
pub fn ids(folder: &Path) -> impl Iterator<Item = u32> {
    names(folder).filter_map(|name| {
        let rest = name
            .strip_prefix("dotnet-diagnostic-")?
            .strip_suffix("-socket")?;
        rest.split('-').next()?.parse().ok()
    })
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sockets_name_their_process_and_other_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "dotnet-diagnostic-77-123-socket",
            "dotnet-diagnostic-x-1-socket",
            "clr-debug-pipe-77-1-in",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(ids(folder.path()).collect::<Vec<_>>(), [77]);
    }

    #[test]
    fn the_socket_of_this_start_is_preferred() {
        let folder = tempfile::tempdir().unwrap();
        for key in ["5", "4242", "9"] {
            fs::write(
                folder
                    .path()
                    .join(format!("dotnet-diagnostic-31-{key}-socket")),
                "",
            )
            .unwrap();
        }
        let mut who = Identity {
            pid: std::process::id(),
            inner_pid: 31,
            start_ticks: 4242,
            ..Identity::default()
        };
        who.environment
            .insert("TMPDIR".into(), folder.path().display().to_string());
        assert!(
            find(&who, false)
                .unwrap()
                .ends_with("dotnet-diagnostic-31-4242-socket")
        );
    }
}
