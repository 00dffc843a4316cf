//! The sockets of a process by state, counted once for each capture: listing descriptors and the tables of a network namespace is
//! too dear for every sample.

use super::Facts;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Descriptors that are looked at.
const DESCRIPTORS: usize = 1 << 17;
/// Bytes of one table that are read: some 400,000 connections.
const TABLE_BYTES: u64 = 64 << 20;

/// States in `/proc/PID/net/tcp`: include/net/tcp_states.h.
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// Adds `sockets.*` of a process; nothing where its descriptors may not be listed.
pub fn count(pid: u32, facts: &mut Facts) {
    let process = Path::new("/proc").join(pid.to_string());
    let Some(own) = inodes(&process.join("fd")) else {
        return;
    };
    facts.set("sockets.open", own.len() as f64);
    let mut states = States::default();
    for table in ["net/tcp", "net/tcp6"] {
        let Ok(file) = File::open(process.join(table)) else {
            continue;
        };
        states.add(BufReader::new(file.take(TABLE_BYTES)), &own);
    }
    facts.set("sockets.established", states.established as f64);
    facts.set("sockets.close_wait", states.close_wait as f64);
    facts.set("sockets.listening", states.listening as f64);
}

/// Inodes of the sockets among the descriptors in a folder.
fn inodes(folder: &Path) -> Option<HashSet<u64>> {
    let inode = |entry: std::io::Result<fs::DirEntry>| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    };
    let entries = fs::read_dir(folder).ok()?;
    Some(entries.take(DESCRIPTORS).filter_map(inode).collect())
}

#[derive(Debug, Default, PartialEq)]
struct States {
    established: u64,
    close_wait: u64,
    listening: u64,
}

impl States {
    /// Counts the lines of a table that belong to `own` sockets: the fourth word is the state, the tenth the inode.
    fn add(&mut self, table: impl BufRead, own: &HashSet<u64>) {
        for line in table.lines().map_while(Result::ok) {
            let mut words = line.split_ascii_whitespace();
            let (Some(state), Some(inode)) = (words.nth(3), words.nth(5)) else {
                continue;
            };
            if !inode.parse().is_ok_and(|inode| own.contains(&inode)) {
                continue;
            }
            match state {
                ESTABLISHED => self.established += 1,
                CLOSE_WAIT => self.close_wait += 1,
                LISTEN => self.listening += 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn a_line_of_another_process_or_of_rubbish_counts_nothing() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n   \
                     1: 0100007F:1F90 0100007F:9C40 08 00000000:00000001 00:00000000 00000000     0        0 78 1 0 20 4 30 10 -1\n   \
                     2: 0100007F:1F90 0100007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0 20 4 30 10 -1\nrubbish\n";
        let mut states = States::default();
        states.add(table.as_bytes(), &HashSet::from([77, 78]));
        let expected = States {
            established: 0,
            close_wait: 1,
            listening: 1,
        };
        assert_eq!(states, expected);
    }

    #[test]
    fn a_connection_that_the_other_side_closed_is_seen_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let fact = |name: &str| {
            let mut facts = Facts::default();
            count(std::process::id(), &mut facts);
            facts.get(name).unwrap()
        };
        assert!(fact("sockets.open") >= 3.0);
        assert!(fact("sockets.established") >= 2.0);
        assert!(fact("sockets.listening") >= 1.0);
        drop(far);
        let deadline = Instant::now() + Duration::from_secs(60);
        while fact("sockets.close_wait") < 1.0 {
            assert!(
                Instant::now() < deadline,
                "the closed connection never showed"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(near);
    }
}
