//! Delegates: how many handlers, and of whom (`MulticastDelegate`; 3.1 to 10).

use super::View;
use leakhound_clr::TypeInfo;
use std::sync::Arc;

/// Handlers that are looked at to say whose they are.
const LOOKED_AT: usize = 4_096;

/// The handlers of one event or delegate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handlers {
    /// How many.
    pub count: u64,
    /// Types that the handlers belong to, the most frequent first, with how many of those looked at.
    pub targets: Vec<(String, u64)>,
}

impl View<'_, '_> {
    /// The handlers of a combined delegate; `None` when it has one handler only, or is none.
    #[must_use]
    pub fn handlers(&self) -> Option<Handlers> {
        let count = self.count("_invocationCount").filter(|count| *count > 1)?;
        let list = self.object("_invocationList")?;
        // A delegate over an unmanaged pointer or an open virtual method uses the two fields for other things.
        if list.length().is_none_or(|length| length < count) {
            return None;
        }
        let runtime = self.reader.runtime();
        let most = usize::try_from(count).unwrap_or(LOOKED_AT).min(LOOKED_AT);
        let mut targets: Vec<(leakhound_clr::TypeId, u64)> = Vec::new();
        for handler in runtime.array_references(list.address, most)? {
            let Some(target) = self.reader.view(handler).and_then(|h| h.target()) else {
                continue;
            };
            match targets.iter_mut().find(|(id, _)| *id == target.id) {
                Some((_, seen)) => *seen += 1,
                None => targets.push((target.id, 1)),
            }
        }
        targets.sort_by_key(|(id, seen)| (std::cmp::Reverse(*seen), runtime.table_of(*id)));
        let targets = targets
            .into_iter()
            .filter_map(|(id, seen)| Some((runtime.type_info(id)?.name.clone(), seen)))
            .collect();
        Some(Handlers { count, targets })
    }

    /// The object that a delegate calls; `None` for static methods, whose delegate is its own target.
    #[must_use]
    pub fn target(&self) -> Option<Self> {
        self.object("_target")
            .filter(|target| target.address != self.address)
    }

    /// Whose method a delegate calls, as far as it can be told from its target: a type, or the method of a lambda.
    #[must_use]
    pub fn whose(&self) -> Option<Arc<TypeInfo>> {
        self.target()?.info()
    }
}
