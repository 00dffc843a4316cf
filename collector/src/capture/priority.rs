//! Low priority for everything that works while the target runs: the service comes first.

use std::thread;

/// Niceness: a tenth of the share of a thread at 0.
const NICE: libc::c_int = 10;
/// `ioprio_set(2)`: who is meant, and the lowest level of the best-effort class.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const BEST_EFFORT_LOWEST: libc::c_int = (2 << 13) | 7;

/// Lowers the priority of this thread, and of all that it starts from now on. A system that refuses leaves it as it is.
pub fn lower() {
    // SAFETY: plain system calls on the calling thread, no memory is passed.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            BEST_EFFORT_LOWEST,
        );
    }
}

/// Runs `work` in a thread of low priority and waits for it; `None` when it panicked or could not be started.
pub fn with_low<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("low".to_owned())
            .spawn_scoped(scope, || {
                lower();
                work()
            });
        thread.ok()?.join().ok()
    })
}
