//! Exceptions: what a thread threw last, and what an exception object says.

use crate::method_table::could_be;
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use crate::threads::ManagedThread;
use leakhound_dump::MemoryExt;
use serde::Serialize;

/// An exception object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExceptionInfo {
    /// Its address.
    pub object: u64,
    /// Full name of its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `HResult`.
    pub hresult: i32,
    /// The exception that it wraps; 0 for none.
    pub inner: u64,
}

impl Runtime {
    /// The exception that a thread threw last, which it may have handled long ago.
    ///
    /// `Thread::m_LastThrownObject` (vm/threads.h) lies 32 or 40 bytes behind the handle of the managed thread, by version; among
    /// the handles there it is the only one that leads to an exception.
    #[must_use]
    pub fn last_exception(&self, thread: &ManagedThread) -> Option<ExceptionInfo> {
        const WINDOW: std::ops::RangeInclusive<u64> = 16..=48;
        let first = thread
            .address
            .checked_add(self.layout.thread.exposed_object)?;
        WINDOW.step_by(8).find_map(|offset| {
            let handle = self.memory.u64(first.checked_add(offset)?)?;
            // Handles lie in segments of their own, aligned to 8; the flag words between them are small numbers.
            let object = self
                .memory
                .u64(Some(handle).filter(|h| could_be(*h))?)
                .filter(|o| could_be(*o))?;
            self.exception(object)
        })
    }

    /// What an object says as an exception; `None` when it is none.
    #[must_use]
    pub fn exception(&self, object: u64) -> Option<ExceptionInfo> {
        let id = self.type_of(object)?;
        if !self.is_exception(id) {
            return None;
        }
        let word = |name: &str| self.read_reference(object, &self.instance_field(id, name)?);
        Some(ExceptionInfo {
            object,
            type_name: self.type_info(id)?.name.clone(),
            hresult: self.read_i32(object, &self.instance_field(id, "_HResult")?)?,
            inner: word("_innerException").unwrap_or(0),
        })
    }

    /// The message of an exception, at most `most` UTF-16 units of it. It may hold anything that a program puts into texts.
    #[must_use]
    pub fn exception_message(&self, exception: &ExceptionInfo, most: usize) -> Option<String> {
        let id = self.type_of(exception.object)?;
        let message =
            self.read_reference(exception.object, &self.instance_field(id, "_message")?)?;
        self.string_text(message, most)
    }

    /// `System.Exception` or a class derived from it.
    #[must_use]
    pub fn is_exception(&self, id: TypeId) -> bool {
        self.base_types(id).into_iter().any(|base| {
            self.type_info(base)
                .is_some_and(|info| info.name == "System.Exception")
        })
    }
}
