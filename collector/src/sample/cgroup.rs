//! The memory limit that binds: version 1 and 2 control groups, every level up to the root.

use super::Facts;
use super::limit::Limit;
use super::pressure::{Pressure, pressure};
use super::process::{number, read};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `memory.stat` makes the kernel add up its counters, so it is read this seldom.
const STAT_EVERY: Duration = Duration::from_secs(10);
/// Limits are changed by hand or by an orchestrator, seldom.
const LIMIT_EVERY: Duration = Duration::from_secs(10);
/// The kernel takes its averages of pressure this often.
const PRESSURE_EVERY: Duration = Duration::from_secs(2);
/// Levels walked from the group to the root.
const MAX_DEPTH: usize = 64;
/// Levels of unknown name that are searched, and folders looked at on each.
const MAX_HIDDEN: usize = 4;
const MAX_SIBLINGS: usize = 1_000;
/// Version 1 writes "no limit" as a number of pages near 2^63.
const UNLIMITED: u64 = 1 << 60;

/// Where the memory controllers are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Version 1, `/sys/fs/cgroup/memory`: mount point and the group it shows as its root.
    pub v1: Option<(PathBuf, String)>,
    /// Version 2, `/sys/fs/cgroup`.
    pub v2: Option<(PathBuf, String)>,
}

impl Mounts {
    /// Finds them in our own mount table.
    #[must_use]
    pub fn find() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// `36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup cgroup rw,memory`
    fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(point)) = (left.next(), left.next()) else {
                continue;
            };
            let place = Some((PathBuf::from(point), root.to_owned()));
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => mounts.v2 = mounts.v2.or(place),
                (Some("cgroup"), Some(options)) if options.split(',').any(|o| o == "memory") => {
                    mounts.v1 = mounts.v1.or(place);
                }
                _ => {}
            }
        }
        mounts
    }
}

/// One level that has a limit.
#[derive(Debug)]
struct Level {
    folder: PathBuf,
    limit: File,
    usage: File,
    /// What was last read of `limit`, and when.
    limit_bytes: Option<(Instant, Option<u64>)>,
    file_share: Option<(Instant, f64)>,
}

/// A group as its processes see it.
#[derive(Debug, Default)]
struct Group {
    levels: Vec<Level>,
    pressure: Option<File>,
    pressed: Option<(Instant, Pressure)>,
    /// Read in this moment already: processes of one group share it.
    fresh: Option<Facts>,
}

/// All groups in use.
#[derive(Debug)]
pub struct Groups {
    mounts: Mounts,
    groups: BTreeMap<String, Group>,
    buffer: Vec<u8>,
}

impl Groups {
    pub(super) fn new(mounts: Mounts) -> Self {
        Self {
            mounts,
            groups: BTreeMap::new(),
            buffer: vec![0; 4096],
        }
    }

    pub(super) fn begin(&mut self) {
        for group in self.groups.values_mut() {
            group.fresh = None;
        }
    }

    pub(super) fn retain(&mut self, in_use: &dyn Fn(&str) -> bool) {
        self.groups.retain(|path, _| in_use(path));
    }

    pub(super) fn sample(&mut self, path: &str, now: Instant, facts: &mut Facts) {
        if !self.groups.contains_key(path) {
            let group = self.mounts.open(path);
            self.groups.insert(path.to_owned(), group);
        }
        let Some(group) = self.groups.get_mut(path) else {
            return;
        };
        if group.fresh.is_none() {
            let mut shared = Facts::default();
            group.read(now, &mut self.buffer, &mut shared);
            group.fresh = Some(shared);
        }
        for (name, value) in group.fresh.iter().flat_map(Facts::iter) {
            facts.set(name, value);
        }
    }
}

impl Mounts {
    fn open(&self, path: &str) -> Group {
        let mut group = Group::default();
        let versions = [
            (&self.v1, "memory.limit_in_bytes", "memory.usage_in_bytes"),
            (&self.v2, "memory.max", "memory.current"),
        ];
        for (mount, limit, usage) in versions {
            let Some(folder) = mount.as_ref().and_then(|m| folder(m, path)) else {
                continue;
            };
            let mut at = Some(folder.as_path());
            for _ in 0..MAX_DEPTH {
                let Some(here) = at else { break };
                if let (Ok(limit), Ok(usage)) =
                    (File::open(here.join(limit)), File::open(here.join(usage)))
                {
                    group.levels.push(Level {
                        folder: here.to_owned(),
                        limit,
                        usage,
                        limit_bytes: None,
                        file_share: None,
                    });
                }
                if group.pressure.is_none() {
                    group.pressure = File::open(here.join("memory.pressure")).ok();
                }
                at = here
                    .parent()
                    .filter(|p| mount.as_ref().is_some_and(|m| p.starts_with(&m.0)));
            }
        }
        if group.pressure.is_none() {
            group.pressure = File::open("/proc/pressure/memory").ok();
        }
        group
    }
}

/// The folder of a group. In a container the mount may show a part of the tree; then the nearest that exists is the mount itself.
///
/// In a control group namespace (cgroup_namespaces(7)) both the root of a mount and the groups of others are told relative to our own:
/// `/../../kubepods-pod1.slice/x` under a mount of `/../../..`. What lies between that root and the group we have in common with the
/// other is ours, and its names are not told: they are looked for.
fn folder((point, root): &(PathBuf, String), path: &str) -> Option<PathBuf> {
    let (up, inside) = ups(path);
    if up > 0 {
        // A mount that begins below the common group does not show the other: our own limits are not its limits.
        let hidden = ups(root).0.checked_sub(up)?;
        return find_below(point, hidden.min(MAX_HIDDEN), inside);
    }
    let inside = path.strip_prefix(root.as_str()).unwrap_or(path);
    let exact = point.join(inside.trim_start_matches('/'));
    [exact, point.clone()].into_iter().find(|f| Path::is_dir(f))
}

/// How many levels a path goes up first, and the rest.
fn ups(path: &str) -> (usize, &str) {
    let (mut n, mut rest) = (0, path.trim_start_matches('/'));
    while let Some(next) = rest
        .strip_prefix("..")
        .filter(|next| next.is_empty() || next.starts_with('/'))
    {
        (n, rest) = (n + 1, next.trim_start_matches('/'));
    }
    (n, rest)
}

/// `inside` in a folder that lies so many levels below `folder`.
fn find_below(folder: &Path, levels: usize, inside: &str) -> Option<PathBuf> {
    if levels == 0 {
        let found = folder.join(inside);
        return found.is_dir().then_some(found);
    }
    let entries = fs::read_dir(folder).ok()?.flatten().take(MAX_SIBLINGS);
    let mut folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders.find_map(|entry| find_below(&entry.path(), levels - 1, inside))
}

impl Group {
    fn read(&mut self, now: Instant, buffer: &mut Vec<u8>, facts: &mut Facts) {
        // The level with the least room left is the one that will kill.
        let mut binding = None;
        for level in &mut self.levels {
            if let Some(limit) = level.read(now, buffer)
                && limit.tighten(facts)
            {
                binding = Some(level);
            }
        }
        if let Some(level) = binding {
            facts.set_some("limit_file", level.file_bytes(now));
        }
        if let Some(file) = &self.pressure {
            let pressure = fresh(&mut self.pressed, now, PRESSURE_EVERY, || {
                pressure(file, buffer)
            });
            facts.set_some("memory_pressure", pressure.some);
            facts.set_some("memory_pressure.full", pressure.full);
        }
    }
}

impl Level {
    /// Its limit; `None` where it has none.
    fn read(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Limit> {
        let limit = &self.limit;
        // `max` is no number: no limit on this level.
        let bytes = fresh(&mut self.limit_bytes, now, LIMIT_EVERY, || {
            value(limit, buffer).filter(|l| *l < UNLIMITED && *l > 0)
        })?;
        let used_bytes = value(&self.usage, buffer)?;
        Some(Limit { bytes, used_bytes })
    }

    fn file_bytes(&mut self, now: Instant) -> Option<f64> {
        if let Some((then, bytes)) = self.file_share
            && now.saturating_duration_since(then) < STAT_EVERY
        {
            return Some(bytes);
        }
        let text = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        // Version 2 says `file`, version 1 `total_cache`; both count shared memory, which cannot be dropped.
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
            line.parse::<f64>().ok()
        };
        let cache = field("file").or_else(|| field("total_cache"))?;
        let shared = field("shmem")
            .or_else(|| field("total_shmem"))
            .unwrap_or(0.0);
        let bytes = (cache - shared).max(0.0);
        self.file_share = Some((now, bytes));
        Some(bytes)
    }
}

/// What was read last, or read anew when that is this long ago.
fn fresh<T: Copy>(
    kept: &mut Option<(Instant, T)>,
    now: Instant,
    every: Duration,
    read: impl FnOnce() -> T,
) -> T {
    match kept {
        Some((then, value)) if now.saturating_duration_since(*then) < every => *value,
        _ => kept.insert((now, read())).1,
    }
}

fn value(file: &File, buffer: &mut Vec<u8>) -> Option<u64> {
    let n = read(file, buffer)?;
    number(&buffer[..n])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let folder = root.join(path);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn facts(mounts: Mounts, path: &str) -> Facts {
        let mut facts = Facts::default();
        Groups::new(mounts).sample(path, Instant::now(), &mut facts);
        facts
    }

    #[test]
    fn the_level_with_the_least_room_binds_version_2() {
        let root = tempfile::tempdir().unwrap();
        group(
            root.path(),
            "slice",
            &[
                ("memory.max", "1000\n"),
                ("memory.current", "900\n"),
                ("memory.stat", "anon 1\nfile 300\nshmem 100\n"),
            ],
        );
        group(
            root.path(),
            "slice/app",
            &[
                ("memory.max", "500\n"),
                ("memory.current", "100\n"),
                (
                    "memory.pressure",
                    "some avg10=12.50 avg60=0.00 avg300=0.00 total=0\n",
                ),
            ],
        );
        group(
            root.path(),
            "slice/app/inner",
            &[("memory.max", "max\n"), ("memory.current", "50\n")],
        );
        let mounts = Mounts {
            v1: None,
            v2: Some((root.path().to_owned(), "/".into())),
        };
        let facts = facts(mounts, "/slice/app/inner");
        assert_eq!(facts.get("limit"), Some(1000.0));
        assert_eq!(facts.get("limit_share"), Some(0.9));
        assert_eq!(facts.get("limit_file"), Some(200.0));
        assert_eq!(facts.get("memory_pressure"), Some(0.125));
    }

    #[test]
    fn groups_of_others_are_found_out_of_a_namespace_of_our_own() {
        let root = tempfile::tempdir().unwrap();
        let limit = |bytes: &'static str| [("memory.max", bytes), ("memory.current", "1")];
        group(
            root.path(),
            "kubepods.slice/ours.slice/agent.scope",
            &limit("11"),
        );
        group(
            root.path(),
            "kubepods.slice/burst.slice/pod1.slice/cart.scope",
            &limit("22"),
        );
        group(root.path(), "system.slice/orders.service", &limit("33"));
        let mounted = |shown: &str| Mounts {
            v1: None,
            v2: Some((root.path().to_owned(), shown.into())),
        };
        // We are kubepods.slice/ours.slice/agent.scope, three levels below the root of the mount.
        let outside = mounted("/../../..");
        for (path, bytes) in [
            ("/../../burst.slice/pod1.slice/cart.scope", Some(22.0)),
            ("/../../../system.slice/orders.service", Some(33.0)),
            ("/../../burst.slice/pod2.slice/gone.scope", None),
        ] {
            assert_eq!(facts(outside.clone(), path).get("limit"), bytes, "{path}");
        }
        // A mount of our own group alone shows nobody else, and our limit is not theirs.
        let own = Mounts {
            v1: None,
            v2: Some((
                root.path().join("kubepods.slice/ours.slice/agent.scope"),
                "/".into(),
            )),
        };
        assert_eq!(
            facts(own, "/../../burst.slice/pod1.slice/cart.scope").get("limit"),
            None
        );
    }

    #[test]
    fn version_1_writes_no_limit_as_a_huge_number() {
        let root = tempfile::tempdir().unwrap();
        group(
            root.path(),
            "",
            &[
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.usage_in_bytes", "7\n"),
            ],
        );
        group(
            root.path(),
            "docker/x",
            &[
                ("memory.limit_in_bytes", "4096\n"),
                ("memory.usage_in_bytes", "1024\n"),
                ("memory.stat", "cache 1\ntotal_cache 512\n"),
            ],
        );
        let mounts = Mounts {
            v1: Some((root.path().to_owned(), "/".into())),
            v2: None,
        };
        let limited = facts(mounts.clone(), "/docker/x");
        assert_eq!(
            (limited.get("limit"), limited.get("limit_share")),
            (Some(4096.0), Some(0.25))
        );
        assert_eq!(limited.get("limit_file"), Some(512.0));
        assert_eq!(facts(mounts, "/").get("limit"), None);
    }

    #[test]
    fn mounts_of_both_versions_are_found_in_the_mount_table() {
        let text = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    31 24 0:27 /docker/x /sys/fs/cgroup/unified rw,shared:4 - cgroup2 cgroup2 rw\n";
        let mounts = Mounts::parse(text);
        assert_eq!(
            mounts.v1,
            Some(("/sys/fs/cgroup/memory".into(), "/".into()))
        );
        assert_eq!(
            mounts.v2,
            Some(("/sys/fs/cgroup/unified".into(), "/docker/x".into()))
        );
    }
}
