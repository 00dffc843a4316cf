//! Timers: what each one calls (`TimerQueueTimer`; 3.1 calls its fields `m_…`).

use super::View;

/// The type that every timer of the runtime ends in.
pub const TYPE: &str = "System.Threading.TimerQueueTimer";

impl View<'_, '_> {
    /// Whom a timer calls: the callback's own type, or the state's when the callback is the framework's (a delay, a timeout).
    #[must_use]
    pub fn timer_calls(&self) -> Option<String> {
        let callback = self
            .object_of(&["_timerCallback", "m_timerCallback"])
            .and_then(|callback| callback.whose());
        let state = || {
            let state = self.object_of(&["_state", "m_state"])?;
            Some(state.info()?.name.clone())
        };
        match callback {
            Some(name) if !is_framework(&name) => Some(name),
            Some(name) => state().or(Some(name)),
            None => state(),
        }
    }
}

/// A name that a developer did not choose.
#[must_use]
pub fn is_framework(name: &str) -> bool {
    ["System.", "Microsoft.", "Internal."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_developers_write_is_not_the_frameworks() {
        assert!(is_framework("System.Threading.Tasks.Task.DelayPromise"));
        assert!(!is_framework("Shop.Cart"));
        assert!(!is_framework("SystemMonitor.Probe"));
    }
}
