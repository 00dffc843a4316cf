//! The .NET diagnostics protocol over its Unix socket: framing and the few commands used here.
//!
//! Source: dotnet/diagnostics, documentation/design-docs/ipc-protocol.md. A message is a header of 20 bytes
//! (`DOTNET_IPC_V1\0`, size, command set, command, reserved) and a payload; strings are a count of UTF-16
//! units, the NUL included, and the units.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

const MAGIC: &[u8; 14] = b"DOTNET_IPC_V1\0";
const HEADER_BYTES: usize = 20;
const DUMP: u8 = 0x01;
const EVENT_PIPE: u8 = 0x02;
const PROCESS: u8 = 0x04;
const SERVER: u8 = 0xff;
const OK: u8 = 0x00;

/// Errors that the runtime answers with (`DiagnosticsIpcErrors.h`).
const UNKNOWN_COMMAND: u32 = 0x8013_1385;

/// Why a command gave nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IpcError {
    /// The socket failed or timed out.
    #[error("the diagnostics socket: {0}")]
    Io(#[from] io::Error),
    /// The runtime does not know the command.
    #[error("the runtime does not know command {set:#04x}{command:02x}")]
    UnknownCommand {
        /// Command set.
        set: u8,
        /// Command.
        command: u8,
    },
    /// The runtime said no.
    #[error("the runtime answered {code:#010x}{}{message}", if message.is_empty() { "" } else { ": " })]
    Failed {
        /// HRESULT.
        code: u32,
        /// Its words, if it has any.
        message: String,
    },
    /// The answer is no message of this protocol.
    #[error("the answer is damaged: {0}")]
    Damaged(&'static str),
}

/// What a process says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its id in its own pid namespace.
    pub pid: u64,
    /// `Linux`, `Windows`, ….
    pub os: String,
    /// `x64`, `arm64`, ….
    pub arch: String,
    /// Name of the entry assembly; from .NET 6 on.
    pub assembly: String,
    /// `8.0.32` or longer; from .NET 6 on.
    pub runtime_version: String,
}

/// Dump types of `WriteDump`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpType {
    /// With the GC heap.
    WithHeap = 2,
    /// Everything.
    Full = 4,
}

/// Asks a process about itself, with the older command when the newer is unknown.
///
/// # Errors
/// See [`IpcError`].
pub fn process_info(socket: &Path, timeout: Duration) -> Result<ProcessInfo, IpcError> {
    let newer = call(socket, PROCESS, 0x04, &[], timeout);
    let (payload, is_newer) = match newer {
        Err(IpcError::UnknownCommand { .. }) => (call(socket, PROCESS, 0x00, &[], timeout)?, false),
        other => (other?, true),
    };
    let mut fields = Fields(&payload);
    let mut info = ProcessInfo {
        pid: fields.u64()?,
        ..ProcessInfo::default()
    };
    fields.take(16)?; // runtime cookie
    fields.text()?; // command line, which we have from the kernel
    info.os = fields.text()?;
    info.arch = fields.text()?;
    if is_newer {
        info.assembly = fields.text()?;
        info.runtime_version = fields.text()?;
    }
    Ok(info)
}

/// Asks for a dump at `path` (as the process sees it), with the newest command that the runtime knows.
///
/// # Errors
/// See [`IpcError`]. An answer without error is *not* a promise that a dump is there.
pub fn write_dump(
    socket: &Path,
    path: &str,
    kind: DumpType,
    timeout: Duration,
) -> Result<(), IpcError> {
    let mut payload = Vec::new();
    push_text(&mut payload, path);
    payload.extend((kind as u32).to_le_bytes());
    payload.extend(0_u32.to_le_bytes()); // no logging into the target's own output
    // 0x03 (.NET 7) answers with words, 0x02 (.NET 6) takes flags, 0x01 is the oldest.
    let mut answer = call(socket, DUMP, 0x03, &payload, timeout);
    for older in [0x02, 0x01] {
        if !matches!(answer, Err(IpcError::UnknownCommand { .. })) {
            break;
        }
        answer = call(socket, DUMP, older, &payload, timeout);
    }
    let answer = answer?;
    let mut fields = Fields(&answer);
    let code = fields.u32()?;
    if code == 0 {
        return Ok(());
    }
    let message = fields.text().unwrap_or_default();
    Err(IpcError::Failed { code, message })
}

/// An event source to be listened to.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is told, `KEY=VALUE`.
    pub arguments: &'a str,
}

/// Buffer of a session within the process. The runtime grows it with use; what counters need is a few kilobytes.
const BUFFER_MB: u32 = 1;
/// The format Nettrace.
const NETTRACE: u32 = 1;
/// Events of level `Critical`, and those that go at any level, as the values of counters do. With 0, which stands for all, a
/// source would prepare every event that it has, for nothing.
const LEVEL: u32 = 1;

/// Begins a session with events of these sources. The answer's stream follows on the connection that is given back, for as
/// long as it is open: the runtime ends the session when it can write no more.
///
/// # Errors
/// See [`IpcError`]. [`IpcError::UnknownCommand`] of a runtime before 3.0.
pub fn collect(
    socket: &Path,
    providers: &[Provider<'_>],
    timeout: Duration,
) -> Result<UnixStream, IpcError> {
    // 0x03 (3.1) can leave out the description of all methods at the end, 0x02 (3.0) cannot.
    for (command, no_rundown) in [(0x03, &[0_u8][..]), (0x02, &[])] {
        let mut payload = BUFFER_MB.to_le_bytes().to_vec();
        payload.extend(NETTRACE.to_le_bytes());
        payload.extend(no_rundown);
        payload.extend((providers.len() as u32).to_le_bytes());
        for provider in providers {
            payload.extend(0_u64.to_le_bytes()); // no keywords: events that have none
            payload.extend(LEVEL.to_le_bytes());
            push_text(&mut payload, provider.name);
            push_text(&mut payload, provider.arguments);
        }
        let mut stream = connect(socket, timeout)?;
        match ask(&mut stream, EVENT_PIPE, command, &payload) {
            Err(IpcError::UnknownCommand { .. }) => {}
            Err(error) => return Err(error),
            Ok(_session) => return Ok(stream),
        }
    }
    Err(IpcError::UnknownCommand {
        set: EVENT_PIPE,
        command: 0x02,
    })
}

fn push_text(payload: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    payload.extend((units.len() as u32).to_le_bytes());
    payload.extend(units.iter().flat_map(|u| u.to_le_bytes()));
}

/// Connects, and gives up after a while: a process that is stopped takes no connection once its queue is full.
fn connect(socket: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let connection = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout.min(Duration::from_secs(10))))?;
    connection.connect(&SockAddr::unix(socket)?)?;
    Ok(UnixStream::from(OwnedFd::from(connection)))
}

fn call(
    socket: &Path,
    set: u8,
    command: u8,
    payload: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>, IpcError> {
    ask(&mut connect(socket, timeout)?, set, command, payload)
}

fn ask(stream: &mut UnixStream, set: u8, command: u8, payload: &[u8]) -> Result<Vec<u8>, IpcError> {
    let size = u16::try_from(HEADER_BYTES + payload.len())
        .map_err(|_| IpcError::Damaged("the request is longer than 64 KiB"))?;
    let mut request = MAGIC.to_vec();
    request.extend(size.to_le_bytes());
    request.extend([set, command, 0, 0]);
    request.extend(payload);
    stream.write_all(&request)?;
    read_answer(stream, set, command)
}

fn read_answer(from: &mut impl Read, set: u8, command: u8) -> Result<Vec<u8>, IpcError> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    if header[..14] != *MAGIC {
        return Err(IpcError::Damaged("no DOTNET_IPC_V1 header"));
    }
    let size = usize::from(u16::from_le_bytes([header[14], header[15]]));
    let body = size
        .checked_sub(HEADER_BYTES)
        .ok_or(IpcError::Damaged("shorter than its own header"))?;
    let mut payload = vec![0; body];
    from.read_exact(&mut payload)?;
    if header[16] != SERVER {
        return Err(IpcError::Damaged("not an answer of the server"));
    }
    if header[17] == OK {
        return Ok(payload);
    }
    let mut fields = Fields(&payload);
    match fields.u32()? {
        UNKNOWN_COMMAND => Err(IpcError::UnknownCommand { set, command }),
        code => Err(IpcError::Failed {
            code,
            message: fields.text().unwrap_or_default(),
        }),
    }
}

/// Fields of a payload in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], IpcError> {
        let (head, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(IpcError::Damaged("a field reaches past the end"))?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, IpcError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Result<u64, IpcError> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    fn text(&mut self) -> Result<String, IpcError> {
        // `take` refuses a count past the payload, which is at most 64 KiB.
        let units = self.u32()? as usize;
        let bytes = self.take(units.saturating_mul(2))?;
        let units: Vec<u16> = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|u| u16::from_le_bytes(*u))
            .collect();
        let text = String::from_utf16_lossy(&units);
        Ok(text.trim_end_matches('\0').to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(set: u8, command: u8, payload: &[u8]) -> Vec<u8> {
        let mut m = MAGIC.to_vec();
        m.extend(((HEADER_BYTES + payload.len()) as u16).to_le_bytes());
        m.extend([set, command, 0, 0]);
        m.extend(payload);
        m
    }

    #[test]
    fn an_unknown_command_is_told_from_a_failure() {
        let unknown = message(SERVER, 0xff, &UNKNOWN_COMMAND.to_le_bytes());
        let e = read_answer(&mut &unknown[..], 1, 3).unwrap_err();
        assert!(matches!(e, IpcError::UnknownCommand { set: 1, command: 3 }));
        let mut payload = 0x8000_4005_u32.to_le_bytes().to_vec();
        payload.extend(3_u32.to_le_bytes());
        payload.extend([b'n', 0, b'o', 0, 0, 0]);
        let failed = message(SERVER, 0xff, &payload);
        let e = read_answer(&mut &failed[..], 1, 3).unwrap_err();
        assert_eq!(e.to_string(), "the runtime answered 0x80004005: no");
    }

    #[test]
    fn damaged_answers_are_errors() {
        let mut short = message(SERVER, OK, &[]);
        short[14] = 3;
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n   "[..],
            &short,
            &message(1, OK, &[]),
        ] {
            assert!(matches!(
                read_answer(&mut &bytes[..], 1, 1),
                Err(IpcError::Damaged(_))
            ));
        }
        assert!(matches!(
            read_answer(&mut &b"DOTNET"[..], 1, 1),
            Err(IpcError::Io(_))
        ));
        let mut lying = Fields(&[0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert!(matches!(lying.text(), Err(IpcError::Damaged(_))));
    }
}
