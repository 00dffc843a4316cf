//! What a capture will cost, told before its first byte.

use super::{CaptureError, Content};
use crate::config::{Reserve, Span};
use crate::identity::Identity;
use crate::proc_maps::Mapping;
use leakhound_rules::units::{format_bytes, format_duration};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Stored bytes per byte of touched memory that are set aside. Dumps of real services compress four- to
/// tenfold; half is the worst that was seen with heaps full of numbers.
const STORED_SHARE: f64 = 0.5;
/// The same without the contents of strings and arrays: references alone, most bits of which are alike.
const STRUCTURE_SHARE: f64 = 0.3;
/// Bytes per second at which a stopped process is read and compressed with two threads, at worst.
const SLOWEST_BYTES_PER_S: f64 = 150e6;

/// A prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes that must be read from the process.
    pub memory_bytes: u64,
    /// Bytes that the sealed dump may need on disk.
    pub stored_bytes: u64,
    /// The longest the process may stand still while it is streamed.
    pub pause: Duration,
}

/// What a capture by one method is going to cost the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// How long it may stand still.
    pub pause: Duration,
    /// Bytes that may exist twice while a copy of it is read.
    pub copy_bytes: Option<u64>,
}

impl Cost {
    /// Refuses a pause that is longer than allowed.
    ///
    /// # Errors
    /// [`CaptureError::Refused`], with the figures.
    pub fn within(
        self,
        target: &Identity,
        estimate: &Estimate,
        limit: Span,
    ) -> Result<Self, CaptureError> {
        if self.pause <= limit.0 {
            return Ok(self);
        }
        Err(CaptureError::Refused {
            pid: target.pid,
            reason: format!(
                "it might stand still for {} because of its {}, and capture.max_pause is {limit}",
                format_duration(self.pause.as_secs_f64() * 1e3),
                format_bytes(estimate.memory_bytes as f64)
            ),
        })
    }
}

/// Predicts from the sizes in smaps.
#[must_use]
pub fn predict(maps: &[Mapping], content: Content) -> Estimate {
    let touched = |m: &Mapping| match content {
        Content::Full => m.entry.rss.max(if m.is_file() { m.size() } else { 0 }) + m.entry.swap,
        Content::Heap | Content::Structure if m.is_file() => {
            let managed = m.file_name().to_ascii_lowercase().ends_with(".dll");
            m.entry.anonymous + m.entry.swap + if managed { m.size() } else { 0 }
        }
        Content::Heap | Content::Structure => m.entry.rss + m.entry.swap,
    };
    let memory_bytes = maps
        .iter()
        .filter(|m| m.readable())
        .map(touched)
        .sum::<u64>();
    let share = match content {
        Content::Heap | Content::Full => STORED_SHARE,
        Content::Structure => STRUCTURE_SHARE,
    };
    Estimate {
        memory_bytes,
        stored_bytes: (memory_bytes as f64 * share) as u64 + (1 << 20),
        pause: Duration::from_secs_f64(memory_bytes as f64 / SLOWEST_BYTES_PER_S),
    }
}

/// Free and total bytes of the volume that holds `folder`.
///
/// # Errors
/// The folder is not there.
#[cfg(target_os = "linux")]
pub fn disk(folder: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: both pointers outlive the call, and the structure may be all zeros.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    Ok((
        stat.f_bavail.saturating_mul(stat.f_frsize),
        stat.f_blocks.saturating_mul(stat.f_frsize),
    ))
}

#[cfg(windows)]
#[path = "../windows/disk.rs"]
mod volume;
#[cfg(windows)]
pub use volume::disk;

/// Free bytes that would be missing: 0 when the need fits and the reserve stays.
///
/// # Errors
/// The folder is not there.
#[cfg(any(target_os = "linux", windows))]
pub fn room(folder: &Path, needed: u64, reserve: Reserve) -> io::Result<Room> {
    let (free, total) = disk(folder)?;
    let reserve = reserve.on(total);
    Ok(Room {
        free_bytes: free,
        reserve_bytes: reserve,
        fits: free >= needed.saturating_add(reserve),
    })
}

/// The state of a volume against a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free now.
    pub free_bytes: u64,
    /// What must stay free.
    pub reserve_bytes: u64,
    /// Whether the need fits.
    pub fits: bool,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_own_cost_is_about_our_own_memory() {
        let block = vec![1_u8; 32 << 20];
        let maps = crate::proc_maps::of_process(std::process::id()).unwrap();
        let estimate = predict(&maps, Content::Heap);
        assert!(estimate.memory_bytes > block.len() as u64);
        assert!(predict(&maps, Content::Full).memory_bytes > estimate.memory_bytes);
        assert!(predict(&maps, Content::Structure).stored_bytes < estimate.stored_bytes);
    }

    #[test]
    fn a_reserve_larger_than_the_disk_leaves_no_room() {
        let folder = tempfile::tempdir().unwrap();
        assert!(room(folder.path(), 1, Reserve::Bytes(1)).unwrap().fits);
        assert!(
            !room(folder.path(), 1, Reserve::Bytes(u64::MAX))
                .unwrap()
                .fits
        );
        assert!(!room(folder.path(), 1, Reserve::Share(1.0)).unwrap().fits);
    }
}
