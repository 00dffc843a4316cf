//! This same program once more.

use std::path::PathBuf;
use std::process::Command;

/// On Linux the program that runs, whatever has become of its file: an upgrade replaces the file while the agent runs, and the new
/// one may speak another protocol. Windows does not let a running program's file be replaced.
pub(super) fn again() -> (PathBuf, Command) {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("leakhound"));
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        const RUNNING: &str = "/proc/self/exe";
        if std::path::Path::new(RUNNING).exists() {
            let name = std::env::args_os()
                .next()
                .unwrap_or_else(|| path.clone().into());
            let mut command = Command::new(RUNNING);
            command.arg0(name);
            return (path, command);
        }
    }
    let command = Command::new(&path);
    (path, command)
}

/// The kernel names a process after the file that it was started by, which was [`again`]'s.
#[cfg(target_os = "linux")]
pub(super) fn take_name() {
    // SAFETY: the name ends in NUL and is at most 16 bytes long; it names this thread.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"leakhound".as_ptr());
    }
}
