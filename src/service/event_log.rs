//! The Windows event log: Application, source Leakhound.
//!
//! learn.microsoft.com, "Event Sources" and `ReportEventW`. The message file is one that every Windows has: its messages 1 to
//! 1000 are the text that is handed over.

use super::NAME;
use std::io;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    REPORT_EVENT_TYPE, RegisterEventSourceW, ReportEventW,
};
use windows_sys::core::PCWSTR;

/// Characters of one entry; the log itself takes 31,839.
const MAX_UNITS: usize = 30_000;
const EVENT_ID: u32 = 1;
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// `HKEY_LOCAL_MACHINE`, `REG_EXPAND_SZ`, `REG_DWORD` (winreg.h, winnt.h).
const LOCAL_MACHINE: isize = 0x8000_0002_u32.cast_signed() as isize;
const EXPANDED_TEXT: u32 = 2;
const NUMBER: u32 = 4;

// Three calls are not worth another feature of the bindings.
#[link(name = "advapi32")]
unsafe extern "system" {
    fn RegSetKeyValueW(
        key: isize,
        folder: PCWSTR,
        name: PCWSTR,
        kind: u32,
        data: *const std::ffi::c_void,
        bytes: u32,
    ) -> i32;
    fn RegDeleteKeyW(key: isize, folder: PCWSTR) -> i32;
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn source_key() -> Vec<u16> {
    wide(&format!(r"{SOURCES}\{NAME}"))
}

/// Makes the source known, so that the viewer shows entries as they were written.
pub(super) fn register() -> io::Result<()> {
    let messages: Vec<u8> = wide(MESSAGES)
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect();
    let types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    set("EventMessageFile", EXPANDED_TEXT, &messages)?;
    set("TypesSupported", NUMBER, &u32::from(types).to_le_bytes())
}

fn set(name: &str, kind: u32, value: &[u8]) -> io::Result<()> {
    let (key, name) = (source_key(), wide(name));
    // SAFETY: both names end in NUL; `value` is readable for its length.
    let error = unsafe {
        RegSetKeyValueW(
            LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            kind,
            value.as_ptr().cast(),
            value.len() as u32,
        )
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Takes the source away again; entries stay.
pub(super) fn forget() {
    let key = source_key();
    // SAFETY: the name ends in NUL.
    unsafe {
        RegDeleteKeyW(LOCAL_MACHINE, key.as_ptr());
    }
}

/// Writes one error, whatever is logged otherwise.
pub(super) fn report_error(text: &str) {
    report(EVENTLOG_ERROR_TYPE, text);
}

fn report(kind: REPORT_EVENT_TYPE, text: &str) {
    let mut text: Vec<u16> = text.trim_end().encode_utf16().take(MAX_UNITS).collect();
    text.push(0);
    let (name, texts) = (wide(NAME), [text.as_ptr()]);
    // SAFETY: all texts end in NUL and outlive the calls.
    unsafe {
        let log = RegisterEventSourceW(std::ptr::null(), name.as_ptr());
        if log.is_null() {
            return;
        }
        ReportEventW(
            log,
            kind,
            0,
            EVENT_ID,
            std::ptr::null_mut(),
            1,
            0,
            texts.as_ptr(),
            std::ptr::null(),
        );
        DeregisterEventSource(log);
    }
}

/// Writes log lines as entries of their level.
#[derive(Debug, Clone, Copy)]
pub struct Writer;

/// One line.
#[derive(Debug)]
pub struct Entry {
    kind: REPORT_EVENT_TYPE,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Entry;

    fn make_writer(&'a self) -> Entry {
        Entry {
            kind: EVENTLOG_INFORMATION_TYPE,
            text: Vec::new(),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Entry {
        Entry {
            kind: match *meta.level() {
                Level::ERROR => EVENTLOG_ERROR_TYPE,
                Level::WARN => EVENTLOG_WARNING_TYPE,
                _ => EVENTLOG_INFORMATION_TYPE,
            },
            text: Vec::new(),
        }
    }
}

impl io::Write for Entry {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            report(self.kind, &String::from_utf8_lossy(&self.text));
        }
    }
}
