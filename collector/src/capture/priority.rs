//! Low priority for everything that works while the target runs: the service comes first.

use std::thread;

/// Niceness: a tenth of the share of a thread at 0.
const NICE: libc::c_int = 10;
/// `ioprio_set(2)`: who is meant, and the lowest level of the best-effort class.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const BEST_EFFORT_LOWEST: libc::c_int = (2 << 13) | 7;
const CLASS_SHIFT: libc::c_int = 13;
/// The class that comes after all others.
const IDLE: libc::c_long = 3;

/// Lowers the priority of this thread, and of all that it starts from now on. Where it is lower already, or a system refuses,
/// it stays as it is.
pub fn lower() {
    // SAFETY: plain system calls on the calling thread, no memory is passed.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) < NICE {
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        }
        if libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) >> CLASS_SHIFT != IDLE {
            libc::syscall(
                libc::SYS_ioprio_set,
                IOPRIO_WHO_PROCESS,
                0,
                BEST_EFFORT_LOWEST,
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Niceness, and class and level of input and output, of the calling thread.
    fn mine() -> (i32, i64) {
        // SAFETY: plain system calls about the calling thread, no memory is passed.
        unsafe {
            (
                libc::getpriority(libc::PRIO_PROCESS, 0),
                libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0),
            )
        }
    }

    #[test]
    fn work_and_what_it_starts_come_after_the_service_and_the_caller_stays() {
        let before = mine();
        let seen = with_low(|| (mine(), thread::spawn(mine).join().ok()));
        // Who runs the tests may have lowered them already.
        let is_idle = before.1 >> CLASS_SHIFT == IDLE;
        let low = (
            NICE.max(before.0),
            if is_idle {
                before.1
            } else {
                BEST_EFFORT_LOWEST.into()
            },
        );
        assert_eq!(seen, Some((low, Some(low))));
        assert_eq!(mine(), before);
    }
}
