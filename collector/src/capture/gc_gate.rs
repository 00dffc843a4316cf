//! A moment at which the garbage collector moves nothing: a dump taken then is exact.

use super::Cancel;
use crate::identity::Identity;
use leakhound_clr::Peeker;
use std::time::{Duration, Instant};

/// Between two looks: collections of young objects take about this long.
const LOOK: Duration = Duration::from_millis(2);

/// Asks a process whether it is collecting.
pub(crate) struct GcGate(Option<Peeker>);

impl GcGate {
    /// Costs some milliseconds while the target runs. A process without a readable runtime gives no answers.
    pub(crate) fn open(target: &Identity) -> Self {
        let peeker = target.dotnet.as_ref().and_then(|_| {
            let options = leakhound_dump::LiveOptions {
                threads: false,
                ..leakhound_dump::LiveOptions::default()
            };
            let image = leakhound_dump::live_with(target.pid, &options).ok()?;
            Peeker::open(&image).ok()
        });
        Self(peeker)
    }

    /// The collector is moving objects; `None` when that cannot be told.
    pub(crate) fn in_progress(&self) -> Option<bool> {
        self.0.as_ref()?.gc_in_progress()
    }

    /// Waits while it does, at most until `until`.
    pub(crate) fn wait(&self, until: Instant, cancel: &Cancel) {
        while self.in_progress() == Some(true) && Instant::now() < until && !cancel.is_cancelled() {
            std::thread::sleep(LOOK);
        }
    }
}
