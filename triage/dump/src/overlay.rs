//! File-backed pages that a core lacks, taken from the module files on disk.
//!
//! gdb and the kernel leave out clean file pages, and createdump's heap dumps of .NET Core 3.1 have no metadata:
//! 120 of 134 types had no name in such a dump. With the files at hand everything resolves.
//! Only ELF and PE modules are overlaid, only after [`ModuleFiles`] proved the file, and never their writable parts:
//! what a process wrote is in the dump or lost.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use leakhound_archive::ReadAt;

use crate::elf::{EHDR_BYTES, PF_W, PT_LOAD};
use crate::image::{MappedFile, Module, ProcessImage};
use crate::memory::{Memory, Region};
use crate::module_files::{ModuleFiles, file_program_headers};
use crate::pe::PeHeaders;
use crate::relocated::RelocatedFile;

/// Pages of the smallest size; mappings begin and end on them.
const PAGE: u64 = 4096;

/// A range of addresses that a file on disk can fill.
struct Patch {
    start: u64,
    end: u64,
    offset: u64,
    file: Arc<dyn ReadAt>,
}

/// [`Memory`] that falls back to module files where the dump has a hole.
pub struct FileOverlay {
    base: Arc<dyn Memory>,
    patches: Vec<Patch>,
    regions: Vec<Region>,
    files: Arc<ModuleFiles>,
}

impl FileOverlay {
    /// Lays the files of `modules` under `base`. Files that are missing or do not match are left out.
    #[must_use]
    pub fn new(
        base: Arc<dyn Memory>,
        mapped: &[MappedFile],
        modules: &[Module],
        files: Arc<ModuleFiles>,
    ) -> Self {
        let mut patches = Vec::new();
        for module in modules {
            let Some(found) = files.open(&*base, mapped, module) else {
                continue;
            };
            let writable = Writable::of(&*found.file);
            for m in mapped {
                // A single-file program maps its assemblies out of its own executable, outside of any module.
                let inside = |o: &Module| o.base <= m.start && m.start - o.base < o.size;
                let own = m.path == module.path && (inside(module) || !modules.iter().any(inside));
                if !own {
                    continue;
                }
                // The kernel zero-fills the last page of a mapping beyond the end of the file.
                let there = found.file.len().next_multiple_of(PAGE);
                let to = m
                    .end
                    .min(m.start.saturating_add(there.saturating_sub(m.offset)));
                for (from, to) in subtract((m.start, to), &writable.ranges(module.base, m)) {
                    patches.push(Patch {
                        start: from,
                        end: to,
                        offset: m.offset + (from - m.start),
                        file: found.file.clone(),
                    });
                }
            }
            if mapped.is_empty() {
                patches.extend(placed(module, &writable, &found.file));
            }
        }
        patches.sort_by_key(|p| (p.start, p.end));
        let mut covered = 0;
        patches.retain_mut(|p| {
            let skip = u64::saturating_sub(covered, p.start).min(p.end - p.start);
            p.start += skip;
            p.offset += skip;
            covered = covered.max(p.end);
            p.start < p.end
        });
        let regions = union(base.regions(), &patches);
        Self {
            base,
            patches,
            regions,
            files,
        }
    }

    /// Puts an overlay over the memory of `image`.
    pub fn apply(image: &mut ProcessImage, files: &Arc<ModuleFiles>) {
        let overlay = Self::new(
            image.memory.clone(),
            &image.mapped_files,
            &image.modules,
            files.clone(),
        );
        image.memory = Arc::new(overlay);
    }

    /// Bytes of the patch at `address`, up to the next address that the dump itself has.
    fn read_patch(&self, address: u64, buf: &mut [u8]) -> usize {
        let i = self.patches.partition_point(|p| p.end <= address);
        let Some(patch) = self.patches.get(i).filter(|p| p.start <= address) else {
            return 0;
        };
        let own = self.base.regions();
        let next = own.partition_point(|r| r.end <= address);
        let limit = own.get(next).map_or(u64::MAX, |r| r.start).min(patch.end);
        let room = usize::try_from(limit.saturating_sub(address)).unwrap_or(usize::MAX);
        let n = room.min(buf.len());
        let got = patch
            .file
            .read_at(patch.offset + (address - patch.start), &mut buf[..n])
            .unwrap_or(0);
        buf[got..n].fill(0);
        self.files.mark_used(patch.file.origin());
        n
    }
}

impl Memory for FileOverlay {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let mut done = self.base.read(address, buf);
        while done < buf.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let mut n = self.read_patch(at, &mut buf[done..]);
            if n == 0 {
                n = self.base.read(at, &mut buf[done..]);
            }
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn slice(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.base.slice(address, len)
    }

    fn lend(&self, address: u64) -> &[u8] {
        self.base.lend(address)
    }

    fn block(&self, address: u64) -> Option<Range<u64>> {
        self.base.block(address)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.base.problems();
        problems.extend(self.files.problems());
        problems
    }

    fn files_used(&self) -> Vec<PathBuf> {
        let mut used = self.base.files_used();
        used.extend(self.files.used());
        used
    }
}

/// Where the loader put the read-only sections of a Windows module; its dump lists no file mappings.
fn placed(module: &Module, writable: &Writable, file: &Arc<dyn ReadAt>) -> Vec<Patch> {
    let Writable::Pe(headers) = writable else {
        return Vec::new();
    };
    let first = headers
        .sections
        .iter()
        .map(|s| s.offset)
        .filter(|o| *o > 0)
        .min();
    let file = RelocatedFile::at(file.clone(), headers, module.base);
    let head = (0, u64::from(first.unwrap_or(0)), 0);
    let sections = headers.sections.iter().filter(|s| !s.write).map(|s| {
        let there = s.file_bytes.min(s.memory_bytes);
        (u64::from(s.address), u64::from(there), u64::from(s.offset))
    });
    std::iter::once(head)
        .chain(sections)
        .filter_map(|(address, bytes, offset)| {
            let start = module.base.checked_add(address)?;
            let end = start.checked_add(bytes)?;
            let fits = bytes > 0 && address + bytes <= module.size;
            fits.then(|| Patch {
                start,
                end,
                offset,
                file: file.clone(),
            })
        })
        .collect()
}

/// Which parts of a loaded module the process could write to.
enum Writable {
    /// Writable segments, as distances from the base, whole pages. Includes what is made read-only after relocation.
    Elf(Vec<(u64, u64)>),
    /// Sections know it; a flat mapping of the file has none.
    Pe(PeHeaders),
    /// Headers that cannot be read: everything.
    Unknown,
}

impl Writable {
    fn of(file: &dyn ReadAt) -> Self {
        let mut head = [0; EHDR_BYTES];
        if file.read_at(0, &mut head).unwrap_or(0) < EHDR_BYTES {
            return Self::Unknown;
        }
        if !head.starts_with(b"\x7fELF") {
            return PeHeaders::in_file(file).map_or(Self::Unknown, Self::Pe);
        }
        let mut headers = file_program_headers(file, &head);
        headers.retain(|h| h.kind == PT_LOAD);
        let first = headers.iter().map(|h| h.address).min().unwrap_or(0) & !(PAGE - 1);
        let mut ranges: Vec<(u64, u64)> = headers
            .iter()
            .filter(|h| h.flags & PF_W != 0)
            .map(|h| {
                let from = h.address.saturating_sub(first);
                let to = from.saturating_add(h.memory_bytes);
                // Rounding outwards is safe: a page too many is merely absent.
                (
                    from & !(PAGE - 1),
                    to.saturating_add(PAGE - 1) & !(PAGE - 1),
                )
            })
            .collect();
        ranges.sort_unstable();
        Self::Elf(ranges)
    }

    /// Addresses within mapping `m` that may have been written to; sorted.
    fn ranges(&self, base: u64, m: &MappedFile) -> Vec<(u64, u64)> {
        match self {
            Self::Elf(ranges) => {
                let absolute =
                    |&(from, to): &(u64, u64)| (base.saturating_add(from), base.saturating_add(to));
                ranges.iter().map(absolute).collect()
            }
            Self::Pe(pe) if !pe.places_writable_section(m.start - base, m.offset) => Vec::new(),
            Self::Pe(_) | Self::Unknown => vec![(m.start, m.end)],
        }
    }
}

/// `range` without the sorted `holes`.
fn subtract(range: (u64, u64), holes: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut from, to) = range;
    let mut left = Vec::new();
    for &(start, end) in holes {
        if start >= to {
            break;
        }
        if from < start {
            left.push((from, start));
        }
        from = from.max(end);
    }
    if from < to {
        left.push((from, to));
    }
    left
}

/// Regions of the dump plus what the patches add in its holes.
fn union(base: &[Region], patches: &[Patch]) -> Vec<Region> {
    let mut regions = base.to_vec();
    let taken: Vec<(u64, u64)> = base.iter().map(|r| (r.start, r.end)).collect();
    for p in patches {
        let first = taken.partition_point(|t| t.1 <= p.start);
        regions.extend(subtract((p.start, p.end), &taken[first..]).into_iter().map(
            |(start, end)| Region {
                start,
                end,
                read: true,
                write: false,
                execute: false,
            },
        ));
    }
    regions.sort_by_key(|r| r.start);
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_cut_out_of_a_range() {
        assert_eq!(subtract((10, 50), &[]), [(10, 50)]);
        assert_eq!(
            subtract((10, 50), &[(0, 12), (20, 30), (45, 60)]),
            [(12, 20), (30, 45)]
        );
        assert_eq!(subtract((10, 50), &[(0, u64::MAX)]), []);
        assert_eq!(subtract((10, 50), &[(50, 60)]), [(10, 50)]);
    }
}
