//! Timers: what each one calls (`TimerQueueTimer`; 3.1 calls its fields `m_…`).

use super::{View, state_machine};

/// The event of `System.Timers.Timer`.
const ELAPSED: &str = "_onIntervalElapsed";

/// The type that every timer of the runtime ends in.
pub const TYPE: &str = "System.Threading.TimerQueueTimer";

impl View<'_, '_> {
    /// Whom a timer calls: the callback's own type, or the state's when the callback is the framework's (a delay, a timeout). A
    /// `System.Timers.Timer` is seen through to its handler.
    #[must_use]
    pub fn timer_calls(&self) -> Option<String> {
        let called = self.object_of(&["_timerCallback", "m_timerCallback"]);
        if let Some(component) = called
            .and_then(|callback| callback.target())
            .filter(|target| target.has(ELAPSED))
        {
            let handler = component.object(ELAPSED);
            let whose = handler.and_then(|handler| match handler.handlers() {
                Some(several) => several.targets.first().map(|(name, _)| name.clone()),
                None => Some(handler.whose()?.name.clone()),
            });
            return whose.or_else(|| Some(component.info()?.name.clone()));
        }
        let callback = called.and_then(|callback| callback.whose());
        if let Some(own) = callback
            .as_ref()
            .filter(|info| !is_framework(&info.raw_name))
        {
            return Some(own.name.clone());
        }
        let state = self.object_of(&["_state", "m_state"]);
        // A delay that is awaited belongs to who awaits it.
        let awaiting = state
            .and_then(|state| state.object("m_continuationObject"))
            .and_then(|continuation| continuation.info())
            .filter(|info| state_machine::is_box(&info.raw_name));
        let state = awaiting.or_else(|| state?.info());
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
