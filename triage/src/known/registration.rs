//! Registrations on cancellation tokens: who waits to be told, and at which source (`CancellationTokenSource.CallbackNode`).

use super::View;
use super::timer::is_framework;

/// The node of one registration.
pub const TYPE: &str = "System.Threading.CancellationTokenSource+CallbackNode";

impl View<'_, '_> {
    /// Who registered: the callback's own type, or that of the state it is given.
    #[must_use]
    pub fn registered_by(&self) -> Option<String> {
        let callback = self
            .object("Callback")
            .and_then(|callback| callback.whose())
            .filter(|info| !is_framework(&info.raw_name));
        let who = callback.or_else(|| {
            let state = self.object("CallbackState")?;
            // A delegate as state is what the caller passed to `Register(Action)`.
            state.whose().or_else(|| state.info())
        });
        Some(who?.name.clone())
    }

    /// The token source that it is registered at: behind `Registrations` (5 and later) or `Partition` (3.1).
    #[must_use]
    pub fn source(&self) -> Option<u64> {
        let holder = self.object_of(&["Registrations", "Partition"])?;
        holder.address_in("Source").filter(|source| *source != 0)
    }
}
