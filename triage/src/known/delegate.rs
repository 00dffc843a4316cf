//! Delegates: how many handlers, and of whom (`MulticastDelegate`; 3.1 to 10).

use super::{Reader, View};
use leakhound_clr::{TypeId, TypeInfo};
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

impl Reader<'_> {
    /// The delegates or observers in an array that an application keeps them in; `None` when it is no array of references.
    #[must_use]
    pub fn handlers_in(&self, array: u64) -> Option<Handlers> {
        let mut handlers = self.runtime().array_references(array, usize::MAX)?;
        handlers.retain(|handler| *handler != 0);
        let looked_at = &handlers[..handlers.len().min(LOOKED_AT)];
        Some(Handlers {
            count: handlers.len() as u64,
            targets: self.targets(looked_at),
        })
    }

    /// The types that handlers belong to: a delegate to its target's, an observer to its own.
    fn targets(&self, handlers: &[u64]) -> Vec<(String, u64)> {
        let runtime = self.runtime();
        let mut targets: Vec<(TypeId, u64)> = Vec::new();
        for handler in handlers {
            let Some(handler) = self.view(*handler) else {
                continue;
            };
            let is_delegate = handler.object("_target").is_some();
            let Some(id) = (match is_delegate {
                true => handler.target().map(|target| target.id),
                false => Some(handler.id),
            }) else {
                continue;
            };
            match targets.iter_mut().find(|(seen, _)| *seen == id) {
                Some((_, count)) => *count += 1,
                None => targets.push((id, 1)),
            }
        }
        targets.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), runtime.table_of(*id)));
        targets
            .into_iter()
            .filter_map(|(id, count)| Some((runtime.type_info(id)?.name.clone(), count)))
            .collect()
    }
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
        let handlers = runtime.array_references(list.address, most)?;
        let targets = self.reader.targets(&handlers);
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
