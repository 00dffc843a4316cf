//! A Windows process to [`Identity`].

use super::naming;
use super::single_file::SingleFileCache;
use crate::fabric;
use crate::identity::{DotNet, Identity};
use crate::windows::times;
use leakhound_dump::live::Process;
use leakhound_dump::peb::ProcessParameters;
use leakhound_dump::{DumpError, Limits};
use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

/// Windows itself allows no longer path.
const PATH_UNITS: usize = 32_768;
/// The runtime's library.
const RUNTIME: &str = "coreclr.dll";

/// When a process was made, in ticks of 100 ns since 1601. Needs less of a right than reading it.
///
/// # Errors
/// The process is gone, or may not even be asked for its times.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    // SAFETY: a plain call; the handle that it returns is ours alone.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and nobody else closes it.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    Ok(times::of(handle.as_raw_handle())?.created)
}

/// The error of a process that is gone.
pub(crate) fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

/// Whether an error says that the process is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Opens a process for reading, with the errors of this crate.
pub(crate) fn open(pid: u32) -> io::Result<Process> {
    Process::open(pid).map_err(|error| match error {
        DumpError::NoProcess { .. } => gone(),
        DumpError::Denied { .. } => {
            io::Error::new(io::ErrorKind::PermissionDenied, error.to_string())
        }
        other => io::Error::other(other.to_string()),
    })
}

/// Whether it is the copy of a service that a capture works on. Clones that the system makes are not told apart.
pub(crate) fn is_copy(_: u32) -> bool {
    false
}

/// Reads who `pid` is.
///
/// # Errors
/// The process is gone, or may not be read.
pub fn read(pid: u32, cache: &mut SingleFileCache) -> io::Result<Identity> {
    let process = open(pid)?;
    let created = times::of(process.raw())?.created;
    let executable = executable(&process);
    // Not there yet in a process that is just being made; then it is looked at again.
    let start = process
        .peb()
        .and_then(|peb| ProcessParameters::read(&process, peb))
        .unwrap_or_default();
    let arguments = start.arguments();
    let file_name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let comm = executable
        .as_deref()
        .and_then(file_name)
        .unwrap_or_default();
    let mut identity = Identity {
        pid,
        start_ticks: created,
        started_ms: times::since_1970_ms(created),
        name: naming::name_of(&arguments, executable.as_deref(), &comm),
        comm,
        executable,
        arguments,
        folder: (!start.folder.is_empty()).then(|| PathBuf::from(&start.folder)),
        environment: naming::kept_environment(&start.environment),
        inner_pid: pid,
        ..Identity::default()
    };
    let places = [identity.executable.as_deref(), identity.folder.as_deref()];
    identity.fabric = fabric::of_environment(&identity.environment, &places);
    identity.dotnet = dotnet(&process, identity.executable.as_deref(), cache);
    Ok(identity)
}

/// What makes it a .NET process: the runtime among its modules, or within its executable.
fn dotnet(
    process: &Process,
    executable: Option<&Path>,
    cache: &mut SingleFileCache,
) -> Option<DotNet> {
    let modules = process.module_paths(&Limits::default()).unwrap_or_default();
    let is_runtime = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.eq_ignore_ascii_case(RUNTIME))
    };
    let coreclr = modules.into_iter().map(|(_, path)| path).find(is_runtime);
    let single_file =
        coreclr.is_none() && executable.is_some_and(|path| cache.is_single_file(path));
    (coreclr.is_some() || single_file).then_some(DotNet {
        socket: None,
        coreclr,
        single_file,
    })
}

fn executable(process: &Process) -> Option<PathBuf> {
    let mut text = vec![0_u16; PATH_UNITS];
    let mut units = PATH_UNITS as u32;
    // SAFETY: `text` is writable for `units` characters.
    let ok = unsafe {
        QueryFullProcessImageNameW(
            process.raw(),
            PROCESS_NAME_WIN32,
            text.as_mut_ptr(),
            &raw mut units,
        )
    };
    (ok != 0).then(|| PathBuf::from(String::from_utf16_lossy(&text[..units as usize])))
}

/// Ids and numbers of threads of all processes now.
pub(crate) fn table() -> Vec<(u32, u32)> {
    // SAFETY: a plain call; the handle that it returns is ours alone.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Vec::new();
    }
    // SAFETY: the handle is open and nobody else closes it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: mem::size_of::<PROCESSENTRY32W>() as u32,
        ..PROCESSENTRY32W::default()
    };
    let mut table = Vec::new();
    // SAFETY: the snapshot is open, `entry` is writable and says its size.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        table.push((entry.th32ProcessID, entry.cntThreads));
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    table.sort_unstable();
    table
}

/// All process ids, ascending.
pub(super) fn process_ids() -> Vec<u32> {
    table().into_iter().map(|(pid, _)| pid).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn we_know_ourselves() {
        let me = read(std::process::id(), &mut SingleFileCache::default()).unwrap();
        assert!(me.start_ticks > 0 && me.started_ms > 0);
        assert_eq!(me.start_ticks, start_ticks(me.pid).unwrap());
        assert_eq!(me.dotnet, None);
        assert!(!me.environment.contains_key("PATH"));
        assert!(me.executable.unwrap().is_file());
        assert!(process_ids().contains(&me.pid));
    }
}
