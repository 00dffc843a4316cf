//! Room on a volume.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

/// Free and total bytes of the volume that holds `folder`, as far as this account may use them.
///
/// # Errors
/// The folder is not there.
pub fn disk(folder: &Path) -> io::Result<(u64, u64)> {
    let path: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let (mut free, mut total) = (0, 0);
    // SAFETY: `path` ends in NUL; the numbers outlive the call.
    let ok = unsafe {
        GetDiskFreeSpaceExW(
            path.as_ptr(),
            &raw mut free,
            &raw mut total,
            std::ptr::null_mut(),
        )
    };
    if ok == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((free, total))
}
