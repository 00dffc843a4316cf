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
        if let Some(own) = callback
            .as_ref()
            .filter(|info| !is_framework(&info.raw_name))
        {
            return Some(own.name.clone());
        }
        let state = self.object_of(&["_state", "m_state"]);
        let state = state.and_then(|state| state.info());
        Some(state.or(callback)?.name.clone())
    }
}

/// Whether a type, by its raw name, is none that a developer of the application wrote.
#[must_use]
pub fn is_framework(raw_name: &str) -> bool {
    ["System.", "Microsoft.", "Internal."]
        .iter()
        .any(|prefix| raw_name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_developers_write_is_not_the_frameworks() {
        assert!(is_framework("System.Threading.Tasks.Task+DelayPromise"));
        assert!(!is_framework("Shop.Cart"));
        assert!(!is_framework("SystemMonitor.Probe"));
    }
}
