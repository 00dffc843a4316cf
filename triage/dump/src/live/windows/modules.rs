//! Modules of a running process, as its loader lists them.

use std::io;
use std::mem;
use std::path::PathBuf;

use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::Storage::FileSystem::{
    GetFileVersionInfoSizeW, GetFileVersionInfoW, VS_FIXEDFILEINFO, VerQueryValueW,
};
use windows_sys::Win32::System::ProcessStatus::{
    EnumProcessModulesEx, GetModuleFileNameExW, LIST_MODULES_64BIT,
};

use super::{Process, failed};
use crate::error::DumpError;
use crate::image::Module;
use crate::limits::{Limits, admit};
use crate::pe::PeHeaders;

/// Windows itself allows no longer path.
const PATH_UNITS: usize = 32_768;
/// Room for modules that are loaded between two calls.
const SPARE: usize = 64;
/// A version resource is a few kilobytes.
const MAX_VERSION_BYTES: u32 = 1 << 20;

/// The modules, by base address. Headers are read from memory; the version from the file, as debuggers do.
pub(super) fn list(process: &Process, limits: &Limits) -> Result<Vec<Module>, DumpError> {
    let mut modules = Vec::new();
    for base in bases(process, limits)? {
        // One that was unloaded meanwhile has no headers any more.
        let Some(headers) = PeHeaders::in_memory(process, base) else {
            continue;
        };
        let path = path(process, base);
        let (stamp, size) = (headers.time_stamp, headers.size_of_image);
        modules.push(Module {
            base,
            size: size.into(),
            version: version(&path),
            path: PathBuf::from(String::from_utf16_lossy(&path)),
            build_id: [stamp.to_le_bytes(), size.to_le_bytes()].concat(),
        });
    }
    modules.sort_by_key(|m| m.base);
    Ok(modules)
}

/// Base addresses and paths.
pub(super) fn paths(process: &Process, limits: &Limits) -> Result<Vec<(u64, PathBuf)>, DumpError> {
    let named = |base| {
        let path = String::from_utf16_lossy(&path(process, base));
        (base, PathBuf::from(path))
    };
    Ok(bases(process, limits)?.into_iter().map(named).collect())
}

fn bases(process: &Process, limits: &Limits) -> Result<Vec<u64>, DumpError> {
    let mut found: Vec<HMODULE> = vec![std::ptr::null_mut(); 256];
    loop {
        let room = mem::size_of_val(&found[..]);
        let mut needed = 0_u32;
        // SAFETY: `found` is writable for `room` bytes.
        let ok = unsafe {
            EnumProcessModulesEx(
                process.raw(),
                found.as_mut_ptr(),
                u32::try_from(room).unwrap_or(u32::MAX),
                &raw mut needed,
                LIST_MODULES_64BIT,
            )
        };
        if ok == 0 {
            let error = io::Error::last_os_error();
            return Err(failed(process.pid, "its modules", error));
        }
        let count = needed as usize / mem::size_of::<HMODULE>();
        admit("modules", count as u64, limits.modules)?;
        if count <= found.len() {
            found.truncate(count);
            return Ok(found.into_iter().map(|module| module as u64).collect());
        }
        found.resize(count + SPARE, std::ptr::null_mut());
    }
}

/// The path as the loader has it; empty when it cannot be read.
fn path(process: &Process, base: u64) -> Vec<u16> {
    let mut text = vec![0; PATH_UNITS];
    // SAFETY: `text` is writable for its length; the base is only a number to the call.
    let units = unsafe {
        GetModuleFileNameExW(
            process.raw(),
            base as HMODULE,
            text.as_mut_ptr(),
            PATH_UNITS as u32,
        )
    };
    text.truncate(units as usize);
    text
}

/// The product version in the file's VS_FIXEDFILEINFO.
fn version(path: &[u16]) -> Option<[u16; 4]> {
    let path: Vec<u16> = path.iter().copied().chain([0]).collect();
    let mut ignored = 0;
    // SAFETY: `path` ends in NUL.
    let bytes = unsafe { GetFileVersionInfoSizeW(path.as_ptr(), &raw mut ignored) };
    if bytes == 0 || bytes > MAX_VERSION_BYTES {
        return None;
    }
    // Aligned for the structure that lies in it.
    let mut block = vec![0_u64; (bytes as usize).div_ceil(8)];
    let root = ['\\' as u16, 0];
    let (mut info, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: `block` has room for `bytes`; the pointer that comes back points into it, for `length` bytes.
    unsafe {
        let ok = GetFileVersionInfoW(path.as_ptr(), 0, bytes, block.as_mut_ptr().cast()) != 0
            && VerQueryValueW(
                block.as_ptr().cast(),
                root.as_ptr(),
                &raw mut info,
                &raw mut length,
            ) != 0;
        if !ok || (length as usize) < mem::size_of::<VS_FIXEDFILEINFO>() {
            return None;
        }
        let info = info.cast::<VS_FIXEDFILEINFO>().read_unaligned();
        let (ms, ls) = (info.dwProductVersionMS, info.dwProductVersionLS);
        Some([ms >> 16, ms & 0xffff, ls >> 16, ls & 0xffff].map(|v| v as u16))
    }
}
