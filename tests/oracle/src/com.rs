//! As much of COM as the debugging library needs: identifiers, results, calls through a table of functions.

use std::ffi::c_void;

/// Result of a call; negative is failure.
pub type HResult = i32;
/// Success.
pub const S_OK: HResult = 0;
/// The object does not have that interface.
pub const E_NOINTERFACE: HResult = 0x8000_4002_u32 as i32;
/// The function does nothing here.
pub const E_NOTIMPL: HResult = 0x8000_4001_u32 as i32;
/// It did not work.
pub const E_FAIL: HResult = 0x8000_4005_u32 as i32;

/// Identifier of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Guid(pub u32, pub u16, pub u16, pub [u8; 8]);

/// IUnknown.
pub const IID_UNKNOWN: Guid = Guid(0, 0, 0, [0xc0, 0, 0, 0, 0, 0, 0, 0x46]);

/// An interface pointer of somebody else's object, released when dropped.
#[derive(Debug)]
pub struct Interface(*mut c_void);

impl Interface {
    /// Takes over one reference.
    ///
    /// # Safety
    /// `pointer` is a live interface pointer, and the caller gives up its reference.
    pub unsafe fn own(pointer: *mut c_void) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer))
    }

    /// The object, to be passed as the first argument of every call.
    pub fn this(&self) -> *mut c_void {
        self.0
    }

    /// The function in a slot of the table; slots 0 to 2 are IUnknown's.
    ///
    /// # Safety
    /// `F` is the type of an `extern "C"` function pointer that matches the interface's declaration of that slot.
    pub unsafe fn slot<F: Copy>(&self, index: usize) -> F {
        const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
        // SAFETY: an interface pointer points at a pointer to its table, and the caller vouches for slot and type.
        unsafe {
            let table = *self.0.cast::<*const *const c_void>();
            std::mem::transmute_copy(&*table.add(index))
        }
    }

    /// Another interface of the same object.
    pub fn query(&self, id: &Guid) -> Option<Self> {
        type Query = unsafe extern "C" fn(*mut c_void, *const Guid, *mut *mut c_void) -> HResult;
        let mut other = std::ptr::null_mut();
        // SAFETY: slot 0 of every interface is QueryInterface; what it returns carries a reference for us.
        unsafe {
            let query: Query = self.slot(0);
            if query(self.0, id, &mut other) != S_OK {
                return None;
            }
            Self::own(other)
        }
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        type Release = unsafe extern "C" fn(*mut c_void) -> u32;
        // SAFETY: slot 2 of every interface is Release, and this value owns one reference.
        unsafe {
            let release: Release = self.slot(2);
            release(self.0);
        }
    }
}
