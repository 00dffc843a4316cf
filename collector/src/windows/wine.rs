//! What wine lacks, compared with the Windows that Microsoft documents. Nothing else of this program asks where it runs.
//!
//! | Windows | wine 8 | what is done instead |
//! |---|---|---|
//! | `PssCaptureSnapshot` (learn.microsoft.com/windows/win32/api/processsnapshot/nf-processsnapshot-psscapturesnapshot) | not there | [`super::suspend`], as on a Windows before 8.1 |
//! | `MINIDUMP_CALLBACK_TYPE`: `IoStartCallback`, `IoWriteAllCallback`, `IoFinishCallback` (learn.microsoft.com/windows/win32/api/minidumpapiset/ne-minidumpapiset-minidump_callback_type) | never called: `MiniDumpWriteDump` writes to the file alone | the description, which holds no memory of the process, goes through a file that is deleted when it is closed |
//! | `PROCESS_MEMORY_COUNTERS_EX.PrivateUsage`, `GetProcessHandleCount` (learn.microsoft.com/windows/win32/api/psapi/ns-psapi-process_memory_counters_ex) of another process | 0 | a zero is taken for unknown |
//! | `ChangeServiceConfig2` with `SERVICE_CONFIG_FAILURE_ACTIONS` (learn.microsoft.com/windows/win32/api/winsvc/nf-winsvc-changeserviceconfig2w) | refused | `leakhound service install` warns that the service is not started again when it fails |
//! | `VirtualQueryEx` (learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-virtualqueryex) of a process that stands still | answered by the process itself, so never | the address map is asked for just before |

use super::dbghelp::{self, Description};
use super::import;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_TEMPORARY, FILE_FLAG_DELETE_ON_CLOSE,
};

/// This is wine: its ntdll says so (wiki.winehq.org, developer FAQ).
pub(crate) fn is_here() -> bool {
    import::find("ntdll.dll", c"wine_get_version").is_some()
}

/// What `MiniDumpWriteDump` says of a process, by way of a file.
pub(crate) fn describe(process: HANDLE, pid: u32) -> io::Result<Vec<u8>> {
    let mut file = temporary(pid)?;
    let mut description = Description::default();
    dbghelp::write(process, pid, file.as_raw_handle(), &mut description)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(dbghelp::MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn temporary(pid: u32) -> io::Result<File> {
    let name = format!("leakhound-{}-{pid}.tmp", std::process::id());
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .attributes(FILE_ATTRIBUTE_TEMPORARY)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .share_mode(0)
        .open(std::env::temp_dir().join(name))
}
