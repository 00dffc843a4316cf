//! Asynchronous methods that wait: which method, and at which await (`AsyncStateMachineBox<T>`; 3.1 to 10).

use super::View;
use leakhound_clr::{FieldKind, TypeId};
use leakhound_dump::MemoryExt;

/// The object that a waiting call of an asynchronous method is kept in.
const BOX: &str = "AsyncStateMachineBox`1";

/// Whether a type, by its raw name, is such an object.
#[must_use]
pub fn is_box(raw_name: &str) -> bool {
    raw_name.contains(BOX) && !raw_name.ends_with("[]")
}

impl View<'_, '_> {
    /// The await that a call waits at, counted from 0 in the order of the method's text; `None` when it is not waiting.
    #[must_use]
    pub fn waits_at(&self) -> Option<u32> {
        let field = self.reader.field(self.id, "StateMachine")?;
        let runtime = self.reader.runtime();
        let place = self.address.checked_add(field.offset.into())?;
        let at = match field.kind {
            // Optimized code: the state machine is a struct, in place, without a first word of its own.
            FieldKind::Struct => {
                let machine = machine_type(self)?;
                let state = self.reader.field(machine, "<>1__state")?;
                place.checked_add(u64::from(state.offset).checked_sub(8)?)?
            }
            _ => {
                let machine = self.reader.view(runtime.memory().u64(place)?)?;
                machine.place("<>1__state")?
            }
        };
        runtime
            .memory()
            .u32(at)
            .filter(|state| *state < u32::MAX - 1)
    }
}

/// The last type argument of the box.
fn machine_type(view: &View<'_, '_>) -> Option<TypeId> {
    let runtime = view.reader.runtime();
    runtime.type_arguments(view.id).last().copied()
}
