//! What the tests of this crate share: bundles to seal, and children of the test program itself.

use jiff::Timestamp;
use leakhound_archive::{Archive, Bundle, Manifest, SealOptions};
use std::io::Write;
#[cfg(target_os = "linux")]
use std::process::Command;

/// Set in a child process to the name of the part it plays.
#[cfg(target_os = "linux")]
const PART: &str = "LEAKHOUND_TEST_PART";

/// Bytes that zstd can halve at best.
pub fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..n)
        .map(|i| if i % 2 == 0 { next() } else { 0 })
        .collect()
}

/// A moment, `seconds` after a fixed one.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_373_515 + seconds).unwrap()
}

/// Seals a bundle of `service` with a dump of `raw` and a small fact sheet.
pub fn seal(
    archive: &Archive,
    service: &str,
    when: Timestamp,
    raw: &[u8],
) -> leakhound_archive::error::Result<Bundle> {
    let writer = archive.begin(service, when, "node-1", 4711)?;
    let name = leakhound_archive::bundle::CORE_FILE;
    let mut dump = writer.dump(name, &SealOptions::default())?;
    let sealed = dump.write_all(raw).and_then(|()| dump.finish());
    let sealed = sealed.map_err(|e| writer.seal_error(name, e))?;
    writer.put(leakhound_archive::bundle::SHEET_FILE, br#"{"schema":1}"#)?;
    writer.seal(Manifest {
        dump: Some(sealed.record(name)),
        kind: "heap".to_owned(),
        method: "stop-and-stream".to_owned(),
        ..Manifest::default()
    })
}

/// The command that runs the test `test` of this program again as `part`.
#[cfg(target_os = "linux")]
pub fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, part);
    command
}

/// The part this process plays, if it is such a child.
#[cfg(target_os = "linux")]
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Hidden entries anywhere below the archive: what must not be there at rest.
pub fn hidden(archive: &Archive) -> Vec<String> {
    let mut found = Vec::new();
    for service in std::fs::read_dir(archive.location()).unwrap().flatten() {
        let Ok(entries) = std::fs::read_dir(service.path()) else {
            continue;
        };
        for entry in entries.flatten() {
            let inner = std::fs::read_dir(entry.path())
                .into_iter()
                .flatten()
                .flatten();
            let names = std::iter::once(entry.file_name()).chain(inner.map(|e| e.file_name()));
            found.extend(
                names
                    .map(|n| n.to_string_lossy().into_owned())
                    .filter(|n| n.starts_with('.')),
            );
        }
    }
    found
}
