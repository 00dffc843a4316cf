//! Times of a process.

use std::io;
use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::System::Threading::GetProcessTimes;

/// Ticks of a FILETIME (100 ns) in a second.
pub(crate) const TICKS_PER_S: u64 = 10_000_000;
/// From 1601, where a FILETIME begins, to 1970, in milliseconds.
const TO_1970_MS: i64 = 11_644_473_600_000;

/// In ticks of 100 ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// When the process was made, since 1601.
    pub created: u64,
    /// On processors, user and kernel.
    pub used: u64,
}

/// Asks for the times of a process.
pub(crate) fn of(process: HANDLE) -> io::Result<Times> {
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: four structures that outlive the call.
    let ok = unsafe { GetProcessTimes(process, created, exited, kernel, user) };
    if ok == 0 {
        return Err(io::Error::last_os_error());
    }
    let [created, _, kernel, user] = times.map(ticks);
    Ok(Times {
        created,
        used: kernel + user,
    })
}

fn ticks(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// Milliseconds since 1970.
pub(crate) fn since_1970_ms(ticks: u64) -> i64 {
    i64::try_from(ticks / (TICKS_PER_S / 1000)).unwrap_or(i64::MAX) - TO_1970_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_time_is_a_time() {
        assert_eq!(since_1970_ms(116_444_736_000_000_000), 0);
        assert_eq!(since_1970_ms(116_444_736_000_000_000 + TICKS_PER_S), 1000);
    }
}
