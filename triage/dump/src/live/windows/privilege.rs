//! The privilege to open processes of others.

use std::mem;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::sync::Once;

use windows_sys::Win32::Foundation::LUID;
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_DEBUG_NAME,
    SE_PRIVILEGE_ENABLED, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Turns SeDebugPrivilege on where the account has it: administrators and LocalSystem do, but it is off when a program
/// starts. Without it only processes of the same user can be opened, and opening one says so.
pub(super) fn enable_debug() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut token = std::ptr::null_mut();
        // SAFETY: plain calls with pointers to locals that outlive them; the token is ours alone once opened.
        unsafe {
            if OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &raw mut token) == 0 {
                return;
            }
            let token = OwnedHandle::from_raw_handle(token);
            let mut luid = LUID::default();
            if LookupPrivilegeValueW(std::ptr::null(), SE_DEBUG_NAME, &raw mut luid) == 0 {
                return;
            }
            let wanted = TOKEN_PRIVILEGES {
                PrivilegeCount: 1,
                Privileges: [LUID_AND_ATTRIBUTES {
                    Luid: luid,
                    Attributes: SE_PRIVILEGE_ENABLED,
                }],
            };
            AdjustTokenPrivileges(
                token.as_raw_handle(),
                0,
                &raw const wanted,
                mem::size_of::<TOKEN_PRIVILEGES>() as u32,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
        }
    });
}
