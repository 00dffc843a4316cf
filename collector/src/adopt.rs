//! Dumps that others write into watched folders are taken into the archive.
//!
//! Kernel notifications only wake the loop; what is done is decided by listing the folders, which also
//! serves as the fallback where notifications do not work (network mounts) or overflow. A file is taken when
//! it has not changed for a while, nobody has it open for writing, and it begins like a dump. What was taken is remembered in the state database,
//! so that originals that stay are not taken twice.

mod file_name;
#[cfg_attr(windows, path = "windows/writers.rs")]
mod writers;

use crate::config::{AdoptConfig, CaptureConfig, Original};
use crate::seal::node_name;
use jiff::Timestamp;
use leakhound_archive::bundle::{Bundle, CORE_FILE, MINIDUMP_FILE};
use leakhound_archive::manifest::TriggerRecord;
use leakhound_archive::queue::Queue;
use leakhound_archive::read_at::PlainFile;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, ArchiveError, Manifest, ReadAt, SealOptions};
use leakhound_dump::Format;
use notify_debouncer_full::notify::RecursiveMode;
use rusqlite::params;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tracing::{info, warn};

const STEPS: &[&str] = &["CREATE TABLE adopted (
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (path, bytes, modified_ms)
) STRICT, WITHOUT ROWID"];
/// Why a file was not taken in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The archive or its state database failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The file could not be handled.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk's reserve would be broken.
    #[error(
        "{free_bytes} bytes are free for the archive and capture.reserve keeps {reserve_bytes}: free some space, or lower the reserve"
    )]
    NoRoom {
        /// Free now.
        free_bytes: u64,
        /// What must stay free.
        reserve_bytes: u64,
    },
}

const CHUNK: usize = 1 << 20;
/// Files looked at per folder.
const MAX_FILES: usize = 10_000;

/// A file as it looked at the last pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified_ms: i64,
    since: Instant,
    /// Not a dump, or taken already: not looked at again until it changes.
    settled: bool,
}

/// Remembers files from pass to pass.
#[derive(Debug)]
pub struct Adopter {
    config: AdoptConfig,
    capture: CaptureConfig,
    state: State,
    looks: BTreeMap<PathBuf, Look>,
}

impl Adopter {
    /// Opens the table of adopted files, creating it if need be.
    ///
    /// # Errors
    /// The database failed.
    pub fn open(
        config: AdoptConfig,
        capture: CaptureConfig,
        state: State,
    ) -> Result<Self, ArchiveError> {
        state.migrate("adopted", STEPS)?;
        Ok(Self {
            config,
            capture,
            state,
            looks: BTreeMap::new(),
        })
    }

    /// Lists the folders once and takes what is complete.
    pub fn pass(&mut self, archive: &Archive, queue: Option<&Queue>, now: Instant) -> Vec<Bundle> {
        let mut taken = Vec::new();
        for path in self.candidates() {
            match self.is_ready(&path, now) {
                Ok(false) => {}
                Ok(true) => match self.take(&path, archive, queue) {
                    Ok(Some(bundle)) => taken.push(bundle),
                    Ok(None) => {}
                    Err(error) => {
                        // A full disk or a lost mount may pass: the file is looked at again after it settles.
                        warn!(file = %path.display(), %error, "A dump could not be adopted");
                        self.looks.remove(&path);
                    }
                },
                Err(error) => warn!(file = %path.display(), %error, "A dump could not be adopted"),
            }
        }
        self.looks.retain(|path, _| path.exists());
        taken
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for folder in self.config.folders.iter().flat_map(|f| listed(f)) {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    warn!(folder = %folder.display(), %error, "A watched folder cannot be listed");
                    continue;
                }
            };
            for entry in entries.take(MAX_FILES).flatten() {
                let name = entry.file_name();
                let fits = name
                    .to_str()
                    .is_some_and(|n| self.config.names.iter().any(|p| p.matches(n)));
                // Links are left alone: they may point anywhere.
                if fits && entry.file_type().is_ok_and(|t| t.is_file()) {
                    out.push(entry.path());
                }
            }
        }
        out.sort();
        out
    }

    /// True when a file has not changed for the time it takes to settle and was not taken before.
    fn is_ready(&mut self, path: &Path, now: Instant) -> Result<bool, AdoptError> {
        let Ok(meta) = fs::metadata(path) else {
            return Ok(false);
        };
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let modified_ms = modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis());
        let look = Look {
            bytes: meta.len(),
            modified_ms: i64::try_from(modified_ms).unwrap_or(i64::MAX),
            since: now,
            settled: false,
        };
        match self.looks.get_mut(path) {
            Some(old) if (old.bytes, old.modified_ms) == (look.bytes, look.modified_ms) => {
                if old.settled || now.saturating_duration_since(old.since) < self.config.settle.0 {
                    return Ok(false);
                }
                if writers::has_writer(path) {
                    // It pauses longer than files do that are complete.
                    old.since = now;
                    return Ok(false);
                }
                old.settled = true;
                Ok(!self.was_taken(path, look)?)
            }
            _ => {
                self.looks.insert(path.to_owned(), look);
                Ok(false)
            }
        }
    }

    fn was_taken(&self, path: &Path, look: Look) -> Result<bool, ArchiveError> {
        let key = path.display().to_string();
        self.state.read("look for an adopted file", |c| {
            c.query_row(
                "SELECT count(*) FROM adopted WHERE path = ?1 AND bytes = ?2 AND modified_ms = ?3",
                params![key, look.bytes.cast_signed(), look.modified_ms],
                |r| r.get::<_, i64>(0),
            )
            .map(|n| n > 0)
        })
    }

    /// Copies a dump into a bundle. `None`: it is no dump.
    fn take(
        &self,
        path: &Path,
        archive: &Archive,
        queue: Option<&Queue>,
    ) -> Result<Option<Bundle>, AdoptError> {
        let started = Instant::now();
        let io = |doing: &'static str| {
            move |source| AdoptError::Io {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        let file = PlainFile::open(path).map_err(io("open"))?;
        let name = match leakhound_dump::detect(&file) {
            Ok(Format::ElfCore) => CORE_FILE,
            Ok(Format::Minidump) => MINIDUMP_FILE,
            Err(error) => {
                info!(file = %path.display(), %error, "Not a dump; left alone");
                return Ok(None);
            }
        };
        let room = crate::capture::estimate::room(
            archive.location(),
            file.len() / 4,
            self.capture.reserve,
        );
        let room = room.map_err(io("find room for"))?;
        if !room.fits {
            return Err(AdoptError::NoRoom {
                free_bytes: room.free_bytes,
                reserve_bytes: room.reserve_bytes,
            });
        }
        let (service, pid) = self.names_of(path);
        let modified = self.looks.get(path).map_or(0, |l| l.modified_ms);
        let at = Timestamp::from_millisecond(modified).unwrap_or_else(|_| Timestamp::now());
        let writer = archive.begin(&service, at, &node_name(), pid)?;
        let options = SealOptions {
            level: self.capture.level,
            threads: self.capture.threads as usize,
            ..SealOptions::default()
        };
        let mut seal = writer.dump(name, &options)?;
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            let n = file.read_at(done, &mut buffer).map_err(io("read"))?;
            if n == 0 {
                break;
            }
            seal.write_all(&buffer[..n])
                .map_err(|e| writer.seal_error(name, e))?;
            done += n as u64;
        }
        let sealed = seal.finish().map_err(|e| writer.seal_error(name, e))?;
        let manifest = Manifest {
            service,
            node: node_name(),
            pid,
            captured_at: Some(at),
            kind: "full".to_owned(),
            method: "adopted".to_owned(),
            total_ms: Some(started.elapsed().as_secs_f64() * 1000.0),
            trigger: Some(TriggerRecord {
                name: "adopted".to_owned(),
                when: path.display().to_string(),
                by: "adopted".to_owned(),
                ..TriggerRecord::default()
            }),
            dump: Some(sealed.record(name)),
            ..Manifest::default()
        };
        let bundle = writer.seal(manifest)?;
        self.remember(path)?;
        if let Some(queue) = queue {
            queue.enqueue(&bundle.id().key(), Timestamp::now())?;
        }
        if self.config.original == Original::Remove {
            fs::remove_file(path).map_err(io("remove the adopted original"))?;
        }
        info!(file = %path.display(), bundle = %bundle.id().key(), raw_bytes = done, "Dump adopted");
        Ok(Some(bundle))
    }

    fn remember(&self, path: &Path) -> Result<(), ArchiveError> {
        let Some(look) = self.looks.get(path) else {
            return Ok(());
        };
        let key = path.display().to_string();
        self.state.write("remember an adopted file", |t| {
            t.execute(
                "INSERT OR IGNORE INTO adopted (path, bytes, modified_ms, at_ms) VALUES (?1, ?2, ?3, ?4)",
                params![key, look.bytes.cast_signed(), look.modified_ms, Timestamp::now().as_millisecond()],
            )
            .map(drop)
        })
    }

    /// Service and process id as far as the file name tells.
    fn names_of(&self, path: &Path) -> (String, u32) {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let (process, pid) = file_name::parts(name);
        let service = match (&self.config.service, process) {
            (Some(service), _) => service.clone(),
            (None, Some(process)) => process,
            (None, None) => "adopted".to_owned(),
        };
        (service, pid.unwrap_or(0))
    }
}

/// The folder whose subfolders are meant, where the last part is `*`.
pub(crate) fn each_subfolder_of(folder: &Path) -> Option<&Path> {
    let is_each = folder.file_name().is_some_and(|name| name == "*");
    if is_each { folder.parent() } else { None }
}

/// A configured folder, or the subfolders that it stands for now. Links are left alone: they may point anywhere.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let Some(parent) = each_subfolder_of(folder) else {
        return vec![folder.to_owned()];
    };
    let entries = fs::read_dir(parent).into_iter().flatten();
    let folders = entries
        .take(MAX_FILES)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Watches the folders and sends a word whenever something in them changed. Where the kernel cannot watch,
/// the caller's own polling has to do.
pub(crate) fn wake_on_change(
    config: &AdoptConfig,
    wake: SyncSender<()>,
) -> Option<impl Send + use<>> {
    let handler = move |_| {
        // A full channel means that a wake-up is on its way already.
        let _ = wake.try_send(());
    };
    let mut debouncer = notify_debouncer_full::new_debouncer(
        Duration::from_millis(500),
        None,
        handler,
    )
    .inspect_err(
        |error| warn!(%error, "Folders cannot be watched; they are listed from time to time"),
    )
    .ok()?;
    for folder in &config.folders {
        let (folder, mode) = match each_subfolder_of(folder) {
            // It may come later; until then there is nothing to be told of.
            Some(parent) if !parent.is_dir() => continue,
            Some(parent) => (parent, RecursiveMode::Recursive),
            None => (folder.as_path(), RecursiveMode::NonRecursive),
        };
        if let Err(error) = debouncer.watch(folder, mode) {
            warn!(folder = %folder.display(), %error, "The folder cannot be watched; it is listed from time to time");
        }
    }
    Some(debouncer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Span;

    struct Scene {
        folder: tempfile::TempDir,
        archive: Archive,
        state: State,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("in")).unwrap();
            let archive = Archive::open_or_create(&folder.path().join("archive")).unwrap();
            let state = State::open(archive.location()).unwrap();
            Self {
                folder,
                archive,
                state,
            }
        }

        fn adopter(&self, original: Original) -> Adopter {
            let config = AdoptConfig {
                folders: vec![self.folder.path().join("in")],
                original,
                settle: Span::seconds(5),
                ..AdoptConfig::default()
            };
            let capture = CaptureConfig {
                reserve: crate::config::Reserve::Bytes(0),
                ..CaptureConfig::default()
            };
            Adopter::open(config, capture, self.state.clone()).unwrap()
        }

        fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.folder.path().join("in").join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    fn core() -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([4, 0, 62, 0]);
        bytes.resize(8192, 0);
        bytes
    }

    #[test]
    fn a_complete_dump_is_taken_once_and_the_original_stays() {
        let scene = Scene::new();
        let path = scene.put("core.Shop.Cart.77", &core());
        scene.put("core.txt", b"not a dump");
        let mut adopter = scene.adopter(Original::Keep);
        let start = Instant::now();
        let later = |s| start + Duration::from_secs(s);
        assert_eq!(adopter.pass(&scene.archive, None, start).len(), 0);
        // It grew: the clock starts again.
        fs::write(&path, [core(), core()].concat()).unwrap();
        assert_eq!(adopter.pass(&scene.archive, None, later(6)).len(), 0);
        let taken = adopter.pass(&scene.archive, None, later(12));
        assert_eq!(taken.len(), 1);
        let manifest = taken[0].manifest().unwrap();
        assert_eq!((manifest.service.as_str(), manifest.pid), ("Shop.Cart", 77));
        assert_eq!(manifest.dump.unwrap().raw_bytes, 2 * 8192);
        assert!(path.exists());
        // Neither this collector nor the next takes it again.
        assert_eq!(adopter.pass(&scene.archive, None, later(30)).len(), 0);
        let mut next = scene.adopter(Original::Keep);
        next.pass(&scene.archive, None, later(31));
        assert_eq!(next.pass(&scene.archive, None, later(60)).len(), 0);
    }

    #[test]
    fn each_subfolder_is_looked_into_also_one_that_comes_later() {
        let scene = Scene::new();
        let mut adopter = scene.adopter(Original::Keep);
        adopter.config.folders = vec![scene.folder.path().join("in/ApplicationCrashDumps/*")];
        let start = Instant::now();
        assert_eq!(adopter.pass(&scene.archive, None, start).len(), 0);
        fs::create_dir_all(
            scene
                .folder
                .path()
                .join("in/ApplicationCrashDumps/Shop.Cart.exe"),
        )
        .unwrap();
        scene.put(
            "ApplicationCrashDumps/Shop.Cart.exe/Shop.Cart.exe.77.dmp",
            &core(),
        );
        scene.put("ApplicationCrashDumps/of-nobody.9.dmp", &core());
        adopter.pass(&scene.archive, None, start);
        let taken = adopter.pass(&scene.archive, None, start + Duration::from_secs(9));
        assert_eq!(taken.len(), 1);
        let manifest = taken[0].manifest().unwrap();
        assert_eq!((manifest.service.as_str(), manifest.pid), ("Shop.Cart", 77));
    }

    #[test]
    fn the_original_is_removed_when_asked_for_and_a_job_waits() {
        let scene = Scene::new();
        let path = scene.put("Web.5.dmp", &core());
        let queue = Queue::open(scene.state.clone()).unwrap();
        let mut adopter = scene.adopter(Original::Remove);
        let start = Instant::now();
        adopter.pass(&scene.archive, Some(&queue), start);
        let taken = adopter.pass(&scene.archive, Some(&queue), start + Duration::from_secs(9));
        assert!(!path.exists());
        assert!(queue.job(&taken[0].id().key()).unwrap().is_some());
    }

    #[test]
    fn what_somebody_still_writes_is_not_taken_however_long_it_pauses() {
        let scene = Scene::new();
        let path = scene.put("Shop.Cart_commit_2026-11-30_19:05:09.77", &core());
        let mut writing = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut adopter = scene.adopter(Original::Keep);
        let start = Instant::now();
        let later = |s| start + Duration::from_secs(s);
        for pause in [0, 9, 18, 27] {
            assert_eq!(adopter.pass(&scene.archive, None, later(pause)).len(), 0);
        }
        writing.write_all(&core()).unwrap();
        drop(writing);
        adopter.pass(&scene.archive, None, later(36));
        let taken = adopter.pass(&scene.archive, None, later(45));
        let manifest = taken[0].manifest().unwrap();
        assert_eq!((manifest.service.as_str(), manifest.pid), ("Shop.Cart", 77));
        assert_eq!(manifest.dump.unwrap().raw_bytes, 2 * 8192);
    }
}
