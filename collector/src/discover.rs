//! Which processes there are: .NET processes, and whatever the configuration names.
//!
//! A pass lists process ids; only new ones are examined, so a pass on a quiet node costs one directory
//! listing. A process is examined again at its second pass and half a minute later: it may exec, and load its
//! runtime or open its socket only after a while. Runtimes that come later still are found by their sockets,
//! which are listed twice a minute.

#[cfg_attr(windows, path = "windows/identity.rs")]
pub mod identity;
#[cfg(target_os = "linux")]
mod kubernetes;
pub mod matcher;
pub(crate) mod naming;
#[cfg_attr(windows, path = "windows/single_file.rs")]
mod single_file;
#[cfg_attr(windows, path = "windows/socket.rs")]
pub(crate) mod socket;

pub use single_file::SingleFileCache;

use crate::fabric::Roster;
use crate::identity::Identity;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Passes (counted from the first that saw a process) at which it is examined again.
const AGAIN_AT: [u8; 2] = [1, 6];
/// The pass after which a process counts as what it is.
const SETTLED: u8 = 7;
/// How many passes go by between two thorough ones, which look at sockets and at every start time.
const SOCKETS_EVERY: u32 = 6;
/// Processes known at a time.
const MAX_PROCESSES: usize = 65_536;

/// A process as far as it is known.
#[derive(Debug)]
struct Known {
    identity: Identity,
    passes: u8,
}

/// Remembers processes from pass to pass.
#[derive(Debug, Default)]
pub struct Discovery {
    known: BTreeMap<u32, Known>,
    cache: SingleFileCache,
    passes: u32,
    roster: Roster,
    /// [`Roster::edition`] when it was last looked at.
    edition: u64,
}

/// What a pass found.
#[derive(Debug, Default)]
pub struct Changes {
    /// New processes, and known ones that turned out to be more than they seemed.
    pub found: Vec<Identity>,
    /// Processes that are gone.
    pub gone: Vec<u32>,
}

impl Discovery {
    /// Remembers processes, and completes what they say of themselves by what `roster` says of them.
    #[must_use]
    pub fn with_roster(roster: Roster) -> Self {
        Self {
            roster,
            ..Self::default()
        }
    }

    /// Looks at the process table. `interesting` tells whether a process that is not a .NET process is
    /// wanted; others are forgotten at once.
    pub fn pass(&mut self, interesting: &dyn Fn(&Identity) -> bool) -> Changes {
        let mut changes = Changes::default();
        let mut seen = BTreeSet::new();
        // A socket appears when the runtime is up, which may be long after the process started.
        let is_thorough = self.passes.is_multiple_of(SOCKETS_EVERY);
        let sockets: BTreeSet<u32> = if is_thorough {
            socket::ids(Path::new(socket::FOLDER)).collect()
        } else {
            BTreeSet::new()
        };
        self.passes = self.passes.wrapping_add(1);
        let edition = self.roster.edition();
        let has_news = std::mem::replace(&mut self.edition, edition) != edition;
        for pid in identity::process_ids() {
            seen.insert(pid);
            if let Some(known) = self.known.get_mut(&pid) {
                let new_socket = sockets.contains(&pid) && known.identity.dotnet.is_none();
                known.passes = known.passes.saturating_add(1).min(SETTLED);
                let young = known.passes < SETTLED;
                let reused = (young || is_thorough) && is_reused(known);
                let news = has_news && known.identity.fabric.is_some();
                if !new_socket && !news && !AGAIN_AT.contains(&known.passes) && !reused {
                    continue;
                }
            }
            self.examine(pid, interesting, &mut changes);
        }
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|p| !seen.contains(p))
            .copied()
            .collect();
        for pid in gone {
            self.known.remove(&pid);
            changes.gone.push(pid);
        }
        changes
    }

    fn examine(
        &mut self,
        pid: u32,
        interesting: &dyn Fn(&Identity) -> bool,
        changes: &mut Changes,
    ) {
        if !self.known.contains_key(&pid) && identity::is_copy(pid) {
            return;
        }
        let Ok(mut identity) = identity::read(pid, &mut self.cache) else {
            return;
        };
        self.roster.complete(&mut identity);
        // Kernel threads have no executable and no arguments and never get any.
        let is_kernel = identity.executable.is_none() && identity.arguments.is_empty();
        let before = self.known.get(&pid);
        let same = before.is_some_and(|k| k.identity == identity);
        let reused = before.is_some_and(|k| k.identity.start_ticks != identity.start_ticks);
        let passes = match before {
            Some(k) if !reused => k.passes,
            _ if is_kernel => SETTLED,
            _ => 0,
        };
        if reused {
            changes.gone.push(pid);
        }
        if !same && (identity.dotnet.is_some() || interesting(&identity)) && wanted(&identity) {
            changes.found.push(identity.clone());
        }
        if self.known.len() < MAX_PROCESSES || before.is_some() {
            self.known.insert(pid, Known { identity, passes });
        }
    }

    /// Forgets one process: it was seen to end, and its id may be given to another before the next pass.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// Forgets what is known, so that the next pass reports every process again: after a new configuration.
    pub fn restart(&mut self) {
        self.known.clear();
    }

    /// How soon the next pass should come.
    #[must_use]
    pub const fn interval() -> Duration {
        Duration::from_secs(5)
    }
}

/// Its id belongs to another process now.
fn is_reused(known: &Known) -> bool {
    let now = identity::start_ticks(known.identity.pid);
    now.is_ok_and(|ticks| ticks != known.identity.start_ticks)
}

/// Everything but init and ourselves.
fn wanted(identity: &Identity) -> bool {
    identity.pid > 1 && identity.pid != std::process::id()
}

/// Every process now, .NET or not, as `leakhound ps` and one-shot commands need it.
#[must_use]
pub fn all() -> Vec<Identity> {
    let mut cache = SingleFileCache::default();
    identity::process_ids()
        .into_iter()
        .filter_map(|pid| identity::read(pid, &mut cache).ok())
        .filter(wanted)
        .collect()
}

/// One process by its id.
///
/// # Errors
/// It is gone.
pub fn one(pid: u32) -> std::io::Result<Identity> {
    identity::read(pid, &mut SingleFileCache::default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    #[test]
    fn a_new_process_is_found_once_and_its_end_is_seen() {
        let mut discovery = Discovery::default();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let mine = move |i: &Identity| i.pid == pid;
        let found = |d: &mut Discovery| d.pass(&mine).found.iter().filter(|i| i.pid == pid).count();
        // Just after the fork it may still carry our own name; then it is found again as what it became.
        assert!(found(&mut discovery) >= 1);
        for _ in 0..SETTLED + 2 {
            found(&mut discovery);
        }
        assert_eq!(found(&mut discovery), 0);
        assert_eq!(discovery.known[&pid].identity.name, "sleep");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(discovery.pass(&mine).gone.contains(&pid));
    }

    #[test]
    fn init_and_this_program_are_never_found() {
        let mut discovery = Discovery::default();
        let changes = discovery.pass(&|_| true);
        assert!(
            changes
                .found
                .iter()
                .all(|i| i.pid != 1 && i.pid != std::process::id())
        );
    }
}
