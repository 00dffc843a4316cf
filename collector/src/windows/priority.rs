//! Low priority for what works while the target runs: the service comes first.

use windows_sys::Win32::System::Threading::{
    GetCurrentThread, SetThreadPriority, THREAD_PRIORITY_BELOW_NORMAL,
};

/// Lowers the priority of this thread. A system that refuses leaves it as it is.
pub fn lower() {
    // SAFETY: plain calls on the calling thread.
    unsafe {
        SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL);
    }
}

/// Runs `work` in a thread of low priority and waits for it; `None` when it panicked or could not be started. Threads that
/// it starts have the usual priority: Windows does not hand priorities down.
pub fn with_low<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("low".to_owned())
            .spawn_scoped(scope, || {
                lower();
                work()
            });
        thread.ok()?.join().ok()
    })
}
