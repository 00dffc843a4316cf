//! Against a socket of our own: what runtimes answer, and what none should.
#![allow(clippy::unwrap_used)]

use super::*;
use leakhound_rules::vocabulary::Counter;
use leakhound_rules::vocabulary::counter::counter;
use std::io::Write;
use std::os::unix::net::UnixListener;

const RECORDED: &[u8] = include_bytes!("../../../nettrace/tests/recorded/net8.nettrace");
const UNKNOWN_COMMAND: u32 = 0x8013_1385;

/// Ourselves as a process whose diagnostics socket lies in `folder`.
fn ourselves(folder: &tempfile::TempDir) -> (Identity, UnixListener) {
    let mut who = crate::discover::one(std::process::id()).unwrap();
    let place = folder.path().display().to_string();
    who.environment.insert("TMPDIR".to_owned(), place);
    let name = format!(
        "dotnet-diagnostic-{}-{}-socket",
        who.inner_pid, who.start_ticks
    );
    let listener = UnixListener::bind(folder.path().join(name)).unwrap();
    (who, listener)
}

fn board() -> Board {
    let paths = ["Shop-Baskets/queue-length", "Shop-Baskets/orders"];
    let wanted: Vec<&'static Counter> = paths.iter().map(|p| counter(p).unwrap()).collect();
    Board::new(&wanted, Duration::from_secs(2))
}

/// Takes one request and gives its command and payload.
fn request(listener: &UnixListener) -> (UnixStream, [u8; 2], Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut header = [0; 20];
    stream.read_exact(&mut header).unwrap();
    let size = usize::from(u16::from_le_bytes([header[14], header[15]]));
    let mut payload = vec![0; size - 20];
    stream.read_exact(&mut payload).unwrap();
    (stream, [header[16], header[17]], payload)
}

fn answer(stream: &mut UnixStream, command: u8, payload: &[u8]) {
    let mut message = b"DOTNET_IPC_V1\0".to_vec();
    message.extend(((20 + payload.len()) as u16).to_le_bytes());
    message.extend([0xff, command, 0, 0]);
    message.extend(payload);
    stream.write_all(&message).unwrap();
}

/// Why no values come any more in the end while `serve` plays the runtime.
fn listened(board: &Board, serve: impl FnOnce(UnixListener) + Send) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (who, listener) = ourselves(&folder);
    std::thread::scope(|scope| {
        scope.spawn(move || serve(listener));
        listen(&who, board);
    });
    why(board)
}

fn why(board: &Board) -> String {
    let later = Instant::now() + Duration::from_secs(60);
    board.read(later).remove(0).unwrap_err()
}

#[test]
fn the_request_names_each_source_once_and_values_come() {
    let board = board();
    let reason = listened(&board, |listener| {
        let (mut stream, command, payload) = request(&listener);
        assert_eq!(command, [2, 3]);
        // One megabyte, Nettrace, no rundown, one source: no keywords, level Critical.
        let fixed = [
            &1_u32.to_le_bytes()[..],
            &[1, 0, 0, 0, 0, 1, 0, 0, 0],
            &[0; 8],
            &[1, 0, 0, 0],
        ];
        let fixed = fixed.concat();
        assert_eq!(payload[..fixed.len()], fixed);
        let texts = String::from_utf16_lossy(
            &payload[fixed.len()..]
                .as_chunks::<2>()
                .0
                .iter()
                .map(|u| u16::from_le_bytes(*u))
                .collect::<Vec<_>>(),
        );
        assert!(
            texts.contains("Shop-Baskets") && texts.contains("EventCounterIntervalSec=2"),
            "{texts}"
        );
        answer(&mut stream, 0, &7_u64.to_le_bytes());
        for piece in RECORDED.chunks(700) {
            stream.write_all(piece).unwrap();
        }
    });
    assert_eq!(reason, "the runtime ended the session");
    let values = board.read(Instant::now());
    assert_eq!(values[0], Ok(3.0));
    assert!(
        values[1]
            .as_ref()
            .is_ok_and(|orders| (4.0..6.0).contains(orders)),
        "{values:?}"
    );
}

#[test]
fn an_older_runtime_is_asked_in_its_own_way_and_the_oldest_is_named() {
    let reason = listened(&board(), |listener| {
        for expected in [3, 2] {
            let (mut stream, command, _) = request(&listener);
            assert_eq!(command, [2, expected]);
            answer(&mut stream, 0xff, &UNKNOWN_COMMAND.to_le_bytes());
        }
    });
    assert!(reason.contains("older than .NET Core 3.0"), "{reason}");
}

#[test]
fn what_is_no_stream_ends_the_session() {
    let reason = listened(&board(), |listener| {
        let (mut stream, ..) = request(&listener);
        answer(&mut stream, 0, &7_u64.to_le_bytes());
        stream.write_all(b"HTTP/1.1 200 OK").unwrap();
        // The connection is closed, so the runtime would stop.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    assert!(reason.contains("no event stream"), "{reason}");
}

#[test]
fn the_socket_of_an_earlier_process_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut who, listener) = ourselves(&folder);
    drop(listener);
    let said = |who: &Identity| {
        let board = board();
        listen(who, &board);
        why(&board)
    };
    assert!(said(&who).contains("no diagnostics socket"));
    let off = "DOTNET_EnableDiagnostics_IPC".to_owned();
    who.environment.insert(off, "0".to_owned());
    assert!(said(&who).contains("turned off (DOTNET_EnableDiagnostics_IPC=0)"));
}

#[test]
fn a_refusal_is_passed_on() {
    let reason = listened(&board(), |listener| {
        let (mut stream, ..) = request(&listener);
        answer(&mut stream, 0xff, &0x8000_4005_u32.to_le_bytes());
    });
    assert!(reason.contains("0x80004005"), "{reason}");
}

#[test]
fn a_process_that_stands_still_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("still");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: sets how many connections wait to be accepted: one.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let provider = [Provider {
        name: "Shop",
        arguments: "",
    }];
    // The first waits for an answer, the second for a place in the queue, which a connection that was given up keeps.
    for _ in 0..2 {
        let begun = Instant::now();
        let error = ipc::collect(&path, &provider, Duration::from_millis(50)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let IpcError::Io(error) = error else {
            panic!("{error}");
        };
        assert!(refused(&error).contains("does not answer"), "{error:?}");
    }
}

#[test]
fn a_thread_that_nobody_needs_ends_and_gives_its_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let (who, listener) = ourselves(&folder);
    let wanted = [counter("Shop-Baskets/queue-length").unwrap()];
    let watch = || crate::counters::Counters::watch(&who, &wanted, Duration::from_secs(1));
    let all: Vec<_> = (0..crate::counters::MAX_PROCESSES)
        .map(|_| watch().unwrap())
        .collect();
    let refused = watch().err().unwrap();
    assert!(refused.contains("64 processes"), "{refused}");
    // The first is in the middle of a session.
    let (mut stream, ..) = request(&listener);
    answer(&mut stream, 0, &7_u64.to_le_bytes());
    stream.write_all(&RECORDED[..5_000]).unwrap();
    drop(listener);
    drop(all);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    let until = Instant::now() + Duration::from_secs(20);
    while watch().is_err() {
        assert!(Instant::now() < until, "no place came free");
        std::thread::sleep(Duration::from_millis(10));
    }
}
