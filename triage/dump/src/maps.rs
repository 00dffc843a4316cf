//! Lines of `/proc/PID/maps`.

use crate::elf::notes::path_from;
use crate::image::MappedFile;
use crate::memory::Region;
use std::path::PathBuf;

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapLine {
    /// Addresses and permissions.
    pub region: Region,
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Inode; 0 for anonymous memory.
    pub inode: u64,
    /// File, `[heap]`, `[stack]`, `[anon:…]`, or empty.
    pub path: Vec<u8>,
}

impl MapLine {
    /// Parses `7f00-7f10 r-xp 00001000 fe:00 123   /path`, as the kernel's `show_map_vma` prints it.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (range, rest) = word(line)?;
        let (perms, rest) = word(rest)?;
        let (offset, rest) = word(rest)?;
        let (_device, rest) = word(rest)?;
        let (inode, path) = word(rest)?;
        let dash = range.iter().position(|&b| b == b'-')?;
        let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
        if start >= end || perms.len() < 4 {
            return None;
        }
        Some(Self {
            region: Region {
                start,
                end,
                read: perms[0] == b'r',
                write: perms[1] == b'w',
                execute: perms[2] == b'x',
            },
            offset: hex(offset)?,
            inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
            path: unescape(path.trim_ascii_start()),
        })
    }

    /// The mapping as a file mapping, when it is one.
    #[must_use]
    pub fn mapped_file(&self) -> Option<MappedFile> {
        (self.inode != 0 && self.path.starts_with(b"/")).then(|| MappedFile {
            start: self.region.start,
            end: self.region.end,
            offset: self.offset,
            path: self.path_buf(),
        })
    }

    fn path_buf(&self) -> PathBuf {
        path_from(&self.path)
    }
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// The kernel writes a newline in a path as `\012` and leaves everything else alone.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some(&first) = rest.first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(first);
            rest = &rest[1..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_parse() -> Result<(), &'static str> {
        let line = MapLine::parse(
            b"7fd337c1b000-7fd337c1c000 r--s 00001000 fe:00 10019149                   /srv/a b\\012c.dll (deleted)",
        )
        .ok_or("a file mapping")?;
        assert_eq!(
            (line.region.start, line.region.end),
            (0x7fd3_37c1_b000, 0x7fd3_37c1_c000)
        );
        assert!(line.region.read && !line.region.write && !line.region.execute);
        assert_eq!((line.offset, line.inode), (0x1000, 10_019_149));
        assert_eq!(line.path, b"/srv/a b\nc.dll (deleted)");
        assert!(line.mapped_file().is_some());
        let anonymous =
            MapLine::parse(b"7fff0000-7fff1000 rw-p 00000000 00:00 0 ").ok_or("anonymous")?;
        assert_eq!(anonymous.path, b"");
        assert!(anonymous.mapped_file().is_none());
        let stack =
            MapLine::parse(b"7fff0000-7fff1000 rw-p 00000000 00:00 0    [stack]").ok_or("stack")?;
        assert!(stack.mapped_file().is_none());
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            &b""[..],
            b"zz-1 r--p 0 0 0",
            b"10-5 r--p 0 00:00 0",
            b"10-20 r 0 00:00 0",
            b"10-20 r--p 0 00:00",
            b"10 20",
        ] {
            assert_eq!(MapLine::parse(line), None);
        }
    }
}
