//! The child as its parent holds it: killed at its deadline, on demand and when dropped; always reaped.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Owns the child: kills it at the deadline, on cancel or when dropped, and always reaps it.
pub(super) struct Guard {
    child: Arc<std::sync::Mutex<Child>>,
    done: Arc<AtomicBool>,
    late: Arc<AtomicBool>,
}

impl Guard {
    pub fn watch(child: Child, limit_ms: u64, cancel: Arc<AtomicBool>) -> Self {
        let child = Arc::new(std::sync::Mutex::new(child));
        let done = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let (watched, finished, overdue) = (child.clone(), done.clone(), late.clone());
        std::thread::spawn(move || {
            while !finished.load(Ordering::Acquire) {
                if cancel.load(Ordering::Relaxed) {
                    kill(&watched);
                    return;
                }
                if Instant::now() >= deadline {
                    overdue.store(true, Ordering::Release);
                    kill(&watched);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { child, done, late }
    }

    /// Waits for the child and says how it ended and whether the deadline ended it.
    pub fn finish(self) -> (String, bool) {
        let status = loop {
            let polled = match self.child.lock() {
                Ok(mut child) => child.try_wait(),
                Err(_) => break "lost".to_owned(),
            };
            match polled {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => break error.to_string(),
            }
        };
        self.done.store(true, Ordering::Release);
        (status, self.late.load(Ordering::Acquire))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Ok(mut child) = self.child.lock()
            && matches!(child.try_wait(), Ok(None))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kill(child: &std::sync::Mutex<Child>) {
    if let Ok(mut child) = child.lock() {
        let _ = child.kill();
    }
}
