//! Whether somebody still writes a file: a dump that pauses for longer than files take to settle is not complete.

use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_DELETE, FILE_SHARE_READ};

/// True when somebody has the file open for writing, on whatever machine: the system refuses to open it for a reader that
/// does not put up with writers.
pub fn has_writer(path: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE)
        .open(path);
    let code = opened.err().and_then(|error| error.raw_os_error());
    code.map(i32::cast_unsigned) == Some(ERROR_SHARING_VIOLATION)
}
