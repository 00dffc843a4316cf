//! ICLRDataTarget over a process image: how the debugging library reads the core.
//!
//! Declaration: dotnet/runtime src/coreclr/inc/clrdata.idl.

use crate::com::{E_FAIL, E_NOINTERFACE, E_NOTIMPL, Guid, HResult, IID_UNKNOWN, S_OK};
use leakhound_dump::{Memory, ProcessImage};
use std::ffi::c_void;
use std::sync::Arc;

const IID_DATA_TARGET: Guid = Guid(
    0x3e11_ccee,
    0xd08b,
    0x43e5,
    [0xaf, 0x01, 0x32, 0x71, 0x7a, 0x64, 0xda, 0x03],
);
const MACHINE_AMD64: u32 = 0x8664;
/// Longest module name that is looked at.
const NAME_CHARS: usize = 1024;

/// The object that the library calls. It lives as long as the process.
#[repr(C)]
pub struct DataTarget {
    table: &'static Table,
    memory: Arc<dyn Memory>,
    modules: Vec<(String, u64)>,
    first_thread: u32,
}

#[repr(C)]
struct Table {
    query_interface:
        unsafe extern "C" fn(*mut DataTarget, *const Guid, *mut *mut c_void) -> HResult,
    add_ref: unsafe extern "C" fn(*mut DataTarget) -> u32,
    release: unsafe extern "C" fn(*mut DataTarget) -> u32,
    get_machine_type: unsafe extern "C" fn(*mut DataTarget, *mut u32) -> HResult,
    get_pointer_size: unsafe extern "C" fn(*mut DataTarget, *mut u32) -> HResult,
    get_image_base: unsafe extern "C" fn(*mut DataTarget, *const u16, *mut u64) -> HResult,
    read_virtual: unsafe extern "C" fn(*mut DataTarget, u64, *mut u8, u32, *mut u32) -> HResult,
    write_virtual: unsafe extern "C" fn(*mut DataTarget, u64, *mut u8, u32, *mut u32) -> HResult,
    get_tls_value: unsafe extern "C" fn(*mut DataTarget, u32, u32, *mut u64) -> HResult,
    set_tls_value: unsafe extern "C" fn(*mut DataTarget, u32, u32, u64) -> HResult,
    get_current_thread_id: unsafe extern "C" fn(*mut DataTarget, *mut u32) -> HResult,
    get_thread_context: unsafe extern "C" fn(*mut DataTarget, u32, u32, u32, *mut u8) -> HResult,
    set_thread_context: unsafe extern "C" fn(*mut DataTarget, u32, u32, *mut u8) -> HResult,
    request: unsafe extern "C" fn(*mut DataTarget, u32, u32, *mut u8, u32, *mut u8) -> HResult,
}

static TABLE: Table = Table {
    query_interface,
    add_ref,
    release,
    get_machine_type,
    get_pointer_size,
    get_image_base,
    read_virtual,
    write_virtual,
    get_tls_value,
    set_tls_value,
    get_current_thread_id,
    get_thread_context,
    set_thread_context,
    request,
};

impl DataTarget {
    /// Leaks the object: the library counts references, and one per process is all there is.
    pub fn leak(image: &ProcessImage) -> *mut Self {
        Box::into_raw(Box::new(Self {
            table: &TABLE,
            memory: Arc::clone(&image.memory),
            modules: image
                .modules
                .iter()
                .map(|module| (module.file_name().to_owned(), module.base))
                .collect(),
            first_thread: image.threads.first().map_or(0, |thread| thread.os_id),
        }))
    }
}

unsafe extern "C" fn query_interface(
    this: *mut DataTarget,
    id: *const Guid,
    out: *mut *mut c_void,
) -> HResult {
    // SAFETY: the library passes valid pointers, as COM demands.
    unsafe {
        if *id == IID_UNKNOWN || *id == IID_DATA_TARGET {
            *out = this.cast();
            S_OK
        } else {
            *out = std::ptr::null_mut();
            E_NOINTERFACE
        }
    }
}

unsafe extern "C" fn add_ref(_: *mut DataTarget) -> u32 {
    1
}

unsafe extern "C" fn release(_: *mut DataTarget) -> u32 {
    1
}

unsafe extern "C" fn get_machine_type(_: *mut DataTarget, machine: *mut u32) -> HResult {
    // SAFETY: a valid out pointer.
    unsafe { *machine = MACHINE_AMD64 };
    S_OK
}

unsafe extern "C" fn get_pointer_size(_: *mut DataTarget, bytes: *mut u32) -> HResult {
    // SAFETY: a valid out pointer.
    unsafe { *bytes = 8 };
    S_OK
}

unsafe extern "C" fn get_image_base(
    this: *mut DataTarget,
    path: *const u16,
    base: *mut u64,
) -> HResult {
    // SAFETY: `path` is a terminated UTF-16 string; reading stops at its terminator or a limit.
    let name = unsafe {
        let length = (0..NAME_CHARS)
            .take_while(|index| *path.add(*index) != 0)
            .count();
        String::from_utf16_lossy(std::slice::from_raw_parts(path, length))
    };
    let name = name.rsplit('/').next().unwrap_or(&name);
    // SAFETY: `this` is our leaked object, `base` a valid out pointer.
    unsafe {
        match (*this).modules.iter().find(|(file, _)| file == name) {
            Some((_, address)) => {
                *base = *address;
                S_OK
            }
            None => E_FAIL,
        }
    }
}

unsafe extern "C" fn read_virtual(
    this: *mut DataTarget,
    address: u64,
    buffer: *mut u8,
    wanted: u32,
    done: *mut u32,
) -> HResult {
    // SAFETY: `this` is our leaked object; the library's buffer holds `wanted` bytes.
    let read = unsafe {
        let buffer = std::slice::from_raw_parts_mut(buffer, wanted as usize);
        let read = (*this).memory.read(address, buffer);
        *done = read as u32;
        read
    };
    if read > 0 || wanted == 0 {
        S_OK
    } else {
        E_FAIL
    }
}

unsafe extern "C" fn write_virtual(
    _: *mut DataTarget,
    _: u64,
    _: *mut u8,
    _: u32,
    _: *mut u32,
) -> HResult {
    E_NOTIMPL
}

unsafe extern "C" fn get_tls_value(_: *mut DataTarget, _: u32, _: u32, _: *mut u64) -> HResult {
    E_NOTIMPL
}

unsafe extern "C" fn set_tls_value(_: *mut DataTarget, _: u32, _: u32, _: u64) -> HResult {
    E_NOTIMPL
}

unsafe extern "C" fn get_current_thread_id(this: *mut DataTarget, id: *mut u32) -> HResult {
    // SAFETY: our object and a valid out pointer.
    unsafe { *id = (*this).first_thread };
    S_OK
}

unsafe extern "C" fn get_thread_context(
    _: *mut DataTarget,
    _: u32,
    _: u32,
    _: u32,
    _: *mut u8,
) -> HResult {
    E_NOTIMPL
}

unsafe extern "C" fn set_thread_context(_: *mut DataTarget, _: u32, _: u32, _: *mut u8) -> HResult {
    E_NOTIMPL
}

unsafe extern "C" fn request(
    _: *mut DataTarget,
    _: u32,
    _: u32,
    _: *mut u8,
    _: u32,
    _: *mut u8,
) -> HResult {
    E_NOTIMPL
}
