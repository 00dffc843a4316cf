//! Functions that not every system has, looked up when they are needed: a missing import keeps a program from starting.

use std::ffi::CStr;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};

/// An address of code.
pub(crate) type Code = unsafe extern "system" fn() -> isize;

/// A function of a library that is loaded in every process; the caller casts it to its documented type.
pub(crate) fn find(library: &str, function: &CStr) -> Option<Code> {
    let library: Vec<u16> = library.encode_utf16().chain([0]).collect();
    // SAFETY: both names end in NUL; nothing is loaded or freed.
    unsafe {
        let module = GetModuleHandleW(library.as_ptr());
        if module.is_null() {
            return None;
        }
        GetProcAddress(module, function.as_ptr().cast())
    }
}
