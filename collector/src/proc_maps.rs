//! `/proc/PID/smaps` and `/proc/PID/maps`, parsed.

use leakhound_archive::manifest::MapEntry;
use std::io::{self, BufRead};

/// Mappings read before giving up; the kernel's own default limit is 65,530.
const MAX_MAPPINGS: usize = 1_000_000;

/// One mapping with what the manifest does not keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    /// What the manifest keeps.
    pub entry: MapEntry,
    /// Device of the file, major and minor.
    pub device: (u32, u32),
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
    /// Device memory or raw page frames: reading it may have effects.
    pub is_device: bool,
    /// The process asked for it to be left out of dumps (`MADV_DONTDUMP`).
    pub dont_dump: bool,
    /// The process does not hand it on to children (`MADV_DONTFORK`).
    pub dont_copy: bool,
}

impl Mapping {
    /// Bytes from first to last.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.end.saturating_sub(self.entry.start)
    }

    fn perm(&self, at: usize) -> u8 {
        self.entry.perms.as_bytes().get(at).copied().unwrap_or(b'-')
    }

    /// The process may read it.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.perm(0) == b'r'
    }

    /// The process may write it.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.perm(1) == b'w'
    }

    /// The process may execute it.
    #[must_use]
    pub fn executable(&self) -> bool {
        self.perm(2) == b'x'
    }

    /// Writes are seen by other processes.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.perm(3) == b's'
    }

    /// Backed by a file that lies in a file system (not shared memory, not a device).
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.inode != 0 && self.entry.path.starts_with('/') && !self.is_shared_memory()
    }

    /// Memory with a name but no file to read it back from.
    #[must_use]
    pub fn is_shared_memory(&self) -> bool {
        let p = &self.entry.path;
        [
            "/memfd:",
            "/dev/shm/",
            "/dev/zero",
            "/SYSV",
            "/anon_hugepage",
        ]
        .iter()
        .any(|prefix| p.starts_with(prefix))
    }

    /// File name without its folder, and without the kernel's ` (deleted)`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.entry.path.trim_end_matches(" (deleted)");
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// Reads `/proc/PID/smaps` (or `maps`, which has the same first lines and no sizes).
///
/// # Errors
/// The kernel refuses, or a line is not what the kernel writes.
pub fn read(mut from: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut out: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(out);
        }
        // Paths may be any bytes; the lossy form is for people, the start address identifies.
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        if let Some(mapping) = head(text) {
            if out.len() >= MAX_MAPPINGS {
                return Err(io::Error::other(format!(
                    "more than {MAX_MAPPINGS} mappings"
                )));
            }
            out.push(mapping);
        } else if let (Some((key, value)), Some(last)) = (text.split_once(':'), out.last_mut()) {
            detail(last, key, value);
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a line of smaps: `{text}`"),
            ));
        }
    }
}

/// `7f00-7f10 rw-p 00000000 08:01 123    /path with spaces`
fn head(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_start_matches(' ');
        let end = rest.find(' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after;
        (!field.is_empty()).then_some(field)
    };
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?;
    if perms.len() != 4 {
        return None;
    }
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?;
    let entry = MapEntry {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        perms: perms.to_owned(),
        offset: u64::from_str_radix(offset, 16).ok()?,
        path: rest.trim_start_matches(' ').to_owned(),
        ..MapEntry::default()
    };
    Some(Mapping {
        entry,
        device: (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode: inode.parse().ok()?,
        ..Mapping::default()
    })
}

fn detail(mapping: &mut Mapping, key: &str, value: &str) {
    let entry = &mut mapping.entry;
    let bytes = || {
        let kb = value.trim().trim_end_matches(" kB").parse::<u64>();
        kb.unwrap_or(0).saturating_mul(1024)
    };
    match key {
        "Rss" => entry.rss = bytes(),
        "Private_Dirty" => entry.private_dirty = bytes(),
        "Private_Clean" => entry.private_clean = bytes(),
        "Shared_Clean" | "Shared_Dirty" => entry.shared += bytes(),
        "Anonymous" => entry.anonymous = bytes(),
        "Swap" => entry.swap = bytes(),
        "VmFlags" => {
            for flag in value.split_ascii_whitespace() {
                match flag {
                    // `io`: memory-mapped device; `pf`: bare page frames.
                    "io" | "pf" => mapping.is_device = true,
                    "dd" => mapping.dont_dump = true,
                    "dc" => mapping.dont_copy = true,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(windows)]
#[path = "windows/maps.rs"]
mod windows;
#[cfg(windows)]
pub use windows::of_process;

/// All mappings of a process with their sizes.
///
/// # Errors
/// The process is gone or belongs to somebody else.
#[cfg(target_os = "linux")]
pub fn of_process(pid: u32) -> io::Result<Vec<Mapping>> {
    let file = std::fs::File::open(format!("/proc/{pid}/smaps"))?;
    read(io::BufReader::with_capacity(64 * 1024, file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000002000 rw-s 00001000 fd:01 77                         /tmp/a b (deleted)
Size:                  8 kB
Rss:                   4 kB
Shared_Clean:          4 kB
Shared_Dirty:          8 kB
Private_Clean:         0 kB
Private_Dirty:        12 kB
Anonymous:             0 kB
Swap:                 16 kB
VmFlags: rd wr mr dd io
7f0000002000-7f0000003000 ---p 00000000 00:00 0
";

    #[test]
    fn smaps_is_read_with_its_sizes_and_flags() {
        let maps = read(SMAPS.as_bytes()).unwrap();
        assert_eq!(maps.len(), 2);
        let first = &maps[0];
        assert_eq!(first.entry.path, "/tmp/a b (deleted)");
        assert_eq!(first.file_name(), "a b");
        assert_eq!(
            (first.device, first.inode, first.size()),
            ((0xfd, 1), 77, 0x2000)
        );
        assert_eq!((first.entry.shared, first.entry.swap), (12 << 10, 16 << 10));
        assert!(first.shared() && first.writable() && first.is_device && first.dont_dump);
        assert!(first.is_file());
        assert!(!maps[1].readable() && !maps[1].is_file());
    }

    #[test]
    fn a_damaged_line_is_an_error_not_a_panic() {
        assert!(read(&b"rubbish\n"[..]).is_err());
        assert!(read(&b"Rss: 4 kB\n"[..]).is_err());
        assert_eq!(read(&b""[..]).unwrap(), []);
    }

    #[test]
    fn our_own_map_contains_our_own_code() {
        let maps = of_process(std::process::id()).unwrap();
        let here = our_own_map_contains_our_own_code as *const () as u64;
        let mine = maps
            .iter()
            .find(|m| (m.entry.start..m.entry.end).contains(&here))
            .unwrap();
        assert!(mine.executable() && mine.is_file() && mine.entry.rss > 0);
    }
}
