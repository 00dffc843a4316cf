//! Whether somebody still writes a file: a dump that pauses for longer than files take to settle is not complete.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Descriptors looked at, of all processes together.
const MAX_DESCRIPTORS: usize = 200_000;

/// True when a process that we may look into has the file open for writing. Processes of other users and other machines
/// (network mounts) are not seen; there the file's own rest is all there is.
pub fn has_writer(path: &Path) -> bool {
    let Ok(wanted) = fs::metadata(path) else {
        return false;
    };
    let wanted = (wanted.dev(), wanted.ino());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter(|p| {
        let name = p.file_name();
        name.to_str().is_some_and(|n| n.parse::<u32>().is_ok())
    });
    let descriptors = numbered.flat_map(|p| {
        let folder = p.path();
        let entries = fs::read_dir(folder.join("fd")).into_iter().flatten();
        entries
            .flatten()
            .map(move |e| (folder.join("fdinfo").join(e.file_name()), e.path()))
    });
    descriptors.take(MAX_DESCRIPTORS).any(|(info, file)| {
        // Follows the kernel's link, which leads to the file itself, whatever it is called there.
        fs::metadata(file).is_ok_and(|m| (m.dev(), m.ino()) == wanted) && is_for_writing(&info)
    })
}

/// `flags:` of `/proc/PID/fdinfo/FD`, octal, as `open(2)` took them.
fn is_for_writing(info: &Path) -> bool {
    let text = fs::read_to_string(info).unwrap_or_default();
    let flags = text.lines().find_map(|l| l.strip_prefix("flags:"));
    let flags = flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok());
    flags.is_some_and(|f| f & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_is_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core");
        let writing = fs::File::create(&path).unwrap();
        assert!(has_writer(&path));
        drop(writing);
        let _reading = fs::File::open(&path).unwrap();
        assert!(!has_writer(&path));
        assert!(!has_writer(&folder.path().join("none")));
    }
}
