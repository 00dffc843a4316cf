//! Upper bounds for everything that a dump claims about itself.

use crate::error::DumpError;

/// Named caps. A count that comes out of a dump is admitted here before anything is allocated for it.
///
/// The defaults are far above what real processes have and far below what would hurt the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory ranges of a minidump.
    pub memory_ranges: u64,
    /// Program headers of an ELF core (the kernel's own bound on mappings is 65,530 by default).
    pub program_headers: u64,
    /// Bytes of one note segment.
    pub note_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// File mappings.
    pub mapped_files: u64,
    /// Modules.
    pub modules: u64,
    /// Bytes of one path.
    pub path_bytes: u64,
    /// Lines of a live process's memory map.
    pub map_lines: u64,
    /// Files that an overlay keeps open at once.
    pub overlay_files: u64,
    /// Files in folders that are searched for modules.
    pub folder_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_ranges: 4_000_000,
            program_headers: 4_000_000,
            note_bytes: 256 << 20,
            threads: 200_000,
            mapped_files: 1_000_000,
            modules: 100_000,
            path_bytes: 4096,
            map_lines: 4_000_000,
            overlay_files: 512,
            folder_files: 100_000,
        }
    }
}

/// Passes `found` on as a `usize` when it does not exceed `limit`.
///
/// # Errors
/// [`DumpError::TooMany`], which names the limit.
pub(crate) fn admit(what: &'static str, found: u64, limit: u64) -> Result<usize, DumpError> {
    let too_many = || DumpError::TooMany { what, found, limit };
    if found > limit {
        return Err(too_many());
    }
    usize::try_from(found).map_err(|_| too_many())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_at_the_limit_passes_and_one_above_is_refused_by_name() {
        assert!(matches!(admit("threads", 10, 10), Ok(10)));
        let error = admit("threads", 11, 10).expect_err("above the limit");
        assert_eq!(
            error.to_string(),
            "the dump claims 11 threads; the limit is 10. It is damaged or not meant for reading"
        );
    }
}
