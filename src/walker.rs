//! Ties the collector to the parser: what a capture of kind `facts` freezes, the parser child walks.

use leakhound_collector::capture::{Cancel, FrozenCopy, Walker};
use leakhound_triage::child::{self, WalkCopy};
use leakhound_triage::worker::WalkLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at whether the capture was given up.
const LOOK: Duration = Duration::from_millis(20);

/// The parser child as the collector knows it.
#[derive(Debug)]
pub struct ParserChild {
    limits: WalkLimits,
}

impl ParserChild {
    /// A walker within these limits.
    pub fn new(limits: WalkLimits) -> Self {
        Self { limits }
    }
}

impl Walker for ParserChild {
    fn walk(
        &self,
        copy: &FrozenCopy<'_>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Vec<u8>, String> {
        let walk = WalkCopy {
            request: self.limits.request(copy.notes, Some(copy.manifest)),
            copy: copy.copy,
        };
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
        let mut sheet = std::thread::scope(|scope| {
            // The child is watched over by a flag of its own.
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if cancel.is_cancelled() {
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                    std::thread::sleep(LOOK);
                }
            });
            let sheet = child::walk_copy(&walk, &stop, &mut |step| progress(step.share));
            ended.store(true, Ordering::Relaxed);
            sheet
        })
        .map_err(|error| error.to_string())?;
        // The file that held the threads is gone; what was read was the process.
        sheet.subject.source = format!("process {}", sheet.subject.pid);
        serde_json::to_vec_pretty(&sheet).map_err(|error| error.to_string())
    }
}
