//! `Exception`: how deep its inner exceptions go, and whether it carries a stack trace (3.1 to 10).

use super::View;

/// A longer chain is nobody's.
const DEEPEST: u64 = 1_000;

impl View<'_, '_> {
    /// Inner exceptions below this one.
    #[must_use]
    pub fn inner_exceptions(&self) -> Option<u64> {
        let mut depth = 0;
        let mut at = *self;
        while at.address_in("_innerException")? != 0 {
            depth += 1;
            if depth > DEEPEST {
                return None;
            }
            at = at.object("_innerException")?;
        }
        Some(depth)
    }

    /// It was thrown: the runtime has written a stack trace into it.
    #[must_use]
    pub fn was_thrown(&self) -> Option<bool> {
        Some(self.address_in("_stackTrace")? != 0)
    }
}
