//! The thread that listens to one process over its diagnostics socket.

use super::Place;
use super::board::Board;
use crate::capture::ipc::{self, IpcError, Provider};
use crate::discover::{identity, socket};
use crate::identity::Identity;
use leakhound_nettrace::Reader;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::debug;

/// How long the runtime may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Wait before a process that did not answer is asked again, for the first time: one that has just started has no socket
/// yet. Doubled each time.
const RETRY: Duration = Duration::from_secs(2);
/// Longest such wait.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// Stack of the thread: it holds a buffer and a small parser.
const STACK_BYTES: usize = 256 << 10;
const BUFFER_BYTES: usize = 16 << 10;

/// Starts the thread; it ends when the board is stopped.
pub(super) fn start(who: Identity, board: Arc<Board>, place: Place) -> io::Result<()> {
    let work = move || {
        let _place = place;
        let mut wait = RETRY;
        loop {
            let begun = Instant::now();
            listen(&who, &board);
            // A session that lasted was no failure to begin one.
            if begun.elapsed() > RETRY_MOST {
                wait = RETRY;
            }
            if !board.pause(wait) {
                return;
            }
            wait = (wait * 2).min(RETRY_MOST);
        }
    };
    std::thread::Builder::new()
        .name("counters".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map(drop)
}

/// Listens until the session ends, and leaves word why it did; the connection is closed then.
fn listen(who: &Identity, board: &Board) {
    let reason = match begin(who, board) {
        Ok(stream) => read(stream, board),
        Err(reason) => reason,
    };
    debug!(pid = who.pid, reason, "Counters are not read");
    board.fail(reason);
}

/// Reads values until there is an end, and says why.
fn read(mut stream: UnixStream, board: &Board) -> String {
    let mut reader = Reader::default();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return "the runtime ended the session".to_owned(),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return format!("the session broke off: {error}"),
        };
        let now = Instant::now();
        let read = reader.push(&buffer[..n], &mut |sample| {
            board.note(sample.provider, &sample.name, sample.value, now);
        });
        if let Err(error) = read {
            return error.to_string();
        }
    }
}

/// Asks for the counters; afterwards the connection may be silent for as long as it likes.
fn begin(who: &Identity, board: &Board) -> Result<UnixStream, String> {
    let path = socket::find(who, true).ok_or_else(|| no_socket(who))?;
    let arguments = format!("EventCounterIntervalSec={}", board.every().as_secs());
    let sources = board.providers();
    let providers: Vec<Provider<'_>> = sources
        .iter()
        .map(|name| Provider {
            name,
            arguments: &arguments,
        })
        .collect();
    let stream = ipc::collect(&path, &providers, ANSWER).map_err(|error| match error {
        IpcError::UnknownCommand { .. } => {
            "its runtime is older than .NET Core 3.0, which tells no counters".to_owned()
        }
        // The socket of an earlier process with this id, which ended without taking it along.
        IpcError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => no_socket(who),
        IpcError::Io(error) => refused(&error),
        error => error.to_string(),
    })?;
    // A name may be that of another process: one container's folder mounted into another.
    if let Some(other) = peer(&stream).filter(|pid| *pid != who.pid) {
        return Err(format!("its diagnostics socket belongs to process {other}"));
    }
    let silent = stream
        .set_read_timeout(None)
        .and_then(|()| stream.try_clone());
    let ours = silent.map_err(|error| error.to_string())?;
    if board.open(ours, Instant::now()) {
        Ok(stream)
    } else {
        Err("nobody asks any more".to_owned())
    }
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "its diagnostics socket is open to its own user only: run as that user, or with CAP_DAC_OVERRIDE".to_owned()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "its runtime does not answer (a process that is stopped does not)".to_owned()
        }
        _ => format!("its diagnostics socket: {error}"),
    }
}

/// Why there is no socket.
fn no_socket(who: &Identity) -> String {
    if !identity::is_alive(who.pid) {
        return "it ended".to_owned();
    }
    let off = ["EnableDiagnostics", "EnableDiagnostics_IPC"]
        .into_iter()
        .flat_map(|name| [format!("DOTNET_{name}"), format!("COMPlus_{name}")])
        .find(|name| who.env(name).is_some_and(|value| value.trim() == "0"));
    match off {
        Some(name) => format!("its diagnostics are turned off ({name}=0)"),
        None => "it has no diagnostics socket: its folder for temporary files cannot be seen, or its runtime is older than .NET Core 3.0".to_owned(),
    }
}

/// The process that listens at the other end; `None` where the kernel does not say, as of one that we cannot see.
fn peer(stream: &UnixStream) -> Option<u32> {
    let mut who = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `who`, which is that long.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &raw mut length,
        )
    };
    (answer == 0)
        .then(|| u32::try_from(who.pid).ok())
        .flatten()
        .filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests;
