//! A bundle: one folder with the manifest, the sealed dump and what was learned from them.
//!
//! While it is written it is a hidden folder `.partial-…` with a locked lock file; sealing makes every file durable and then
//! renames the folder, so at any instant there is a whole bundle or a partial one that [`crate::Archive::sweep`] removes.
//! Dropping the writer (an error, a full disk) removes the partial folder at once.

use crate::document::read_json;
use crate::error::{ArchiveError, Result};
use crate::files::{self, Lock, Sharing};
use crate::frames::{SealOptions, SealWriter};
use crate::layout::{BundleId, check_file_name};
use crate::manifest::{MANIFEST_SCHEMA, Manifest};
use crate::read_at::ReadAt;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The manifest's file.
pub const MANIFEST_FILE: &str = "capture.json";
/// The fact sheet's file.
pub const SHEET_FILE: &str = "facts.json.zst";
/// The diagnosis's file.
pub const DIAGNOSIS_FILE: &str = "diagnosis.json";
/// The report's file.
pub const REPORT_FILE: &str = "report.html";
/// A Linux dump's file.
pub const CORE_FILE: &str = "memory.core.zst";
/// A Windows dump's file.
pub const MINIDUMP_FILE: &str = "memory.dmp.zst";
/// Files of the process's modules, for dumps that lack their metadata.
pub const MODULES_FOLDER: &str = "modules";
/// Its presence protects a bundle from retention; its text says why.
pub const KEEP_FILE: &str = "keep";
/// What a person found out about the capture.
pub const LABEL_FILE: &str = "label.json";

/// A sealed bundle on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    id: BundleId,
    path: PathBuf,
}

impl Bundle {
    pub(crate) fn new(id: BundleId, path: PathBuf) -> Self {
        Self { id, path }
    }

    /// Opens a bundle folder anywhere, inside an archive or copied out of one.
    ///
    /// # Errors
    /// The folder has no readable manifest.
    pub fn open(path: &Path) -> Result<Self> {
        let path = fs::canonicalize(path).map_err(|e| ArchiveError::io("open", path, e))?;
        if !path.join(MANIFEST_FILE).is_file() {
            return Err(ArchiveError::NotABundle {
                reason: format!("it has no {MANIFEST_FILE}"),
                path,
            });
        }
        let name = |p: &Path| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        let service_folder = path.parent().and_then(name);
        let placed = service_folder.zip(name(&path));
        if let Some(id) = placed.and_then(|(service, folder)| BundleId::parse(&service, &folder)) {
            return Ok(Self { id, path });
        }
        let manifest: Manifest = read_json(&path.join(MANIFEST_FILE))?;
        let time = manifest.captured_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let id = BundleId::new(&manifest.service, time, &manifest.node, manifest.pid);
        Ok(Self { id, path })
    }

    /// Whose memory, and when.
    #[must_use]
    pub fn id(&self) -> &BundleId {
        &self.id
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if the bundle has the file `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        check_file_name(name).is_ok() && self.path.join(name).is_file()
    }

    /// The manifest.
    ///
    /// # Errors
    /// It cannot be read or does not parse.
    pub fn manifest(&self) -> Result<Manifest> {
        self.read_json(MANIFEST_FILE)
    }

    /// Any JSON document of the bundle; `.zst` is unpacked. Size and nesting are limited.
    ///
    /// # Errors
    /// The file is missing, over the limit, damaged, or not such a document.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        check_file_name(name)?;
        read_json(&self.path.join(name))
    }

    /// The bytes of a document of the bundle, unpacked if it ends in `.zst`.
    ///
    /// # Errors
    /// The file is missing, over the limit, or damaged.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>> {
        check_file_name(name)?;
        crate::document::read_bytes(&self.path.join(name))
    }

    /// Path of the dump, if the bundle has one (it may have been pruned while the sheet lives on).
    ///
    /// # Errors
    /// The manifest cannot be read or names a file outside the bundle.
    pub fn dump_path(&self) -> Result<Option<PathBuf>> {
        let Some(dump) = self.manifest()?.dump else {
            return Ok(None);
        };
        check_file_name(&dump.file)?;
        let path = self.path.join(&dump.file);
        Ok(path.is_file().then_some(path))
    }

    /// Opens the dump for random access, in place.
    ///
    /// # Errors
    /// As for [`Bundle::dump_path`] and [`crate::open_readable`]; also if there is no dump.
    pub fn open_dump(&self) -> Result<Arc<dyn ReadAt>> {
        let path = self.dump_path()?.ok_or_else(|| ArchiveError::NotABundle {
            path: self.path.clone(),
            reason: "its dump was pruned or never taken".to_owned(),
        })?;
        crate::open_readable(&path).map_err(|e| ArchiveError::io("open", &path, e))
    }

    /// Size of all files.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        files::folder_bytes(&self.path)
    }

    /// Size of the dump files (`memory.*`), without reading the manifest.
    #[must_use]
    pub fn dump_bytes(&self) -> u64 {
        dump_files(&self.path).iter().map(|(_, bytes)| bytes).sum()
    }

    /// True if a person marked the bundle to be kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.has(KEEP_FILE)
    }
}

/// The files `memory.*` of a bundle with their sizes.
pub(crate) fn dump_files(bundle: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(bundle) else {
        return Vec::new();
    };
    let dumps = entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("memory."));
    dumps
        .filter_map(|e| {
            Some((
                e.path(),
                e.metadata().ok().filter(fs::Metadata::is_file)?.len(),
            ))
        })
        .collect()
}

/// A bundle that is being written. Ends with [`BundleWriter::seal`]; dropping it removes what was written.
#[derive(Debug)]
pub struct BundleWriter {
    root: PathBuf,
    id: BundleId,
    partial: PathBuf,
    /// Held while the partial folder is ours; `None` once it is sealed.
    lock: Option<Lock>,
}

impl BundleWriter {
    pub(crate) fn begin(root: &Path, id: BundleId) -> Result<Self> {
        // The archive's lock keeps a sweeping process out until our own lock in the new folder is taken.
        let _archive = files::lock_folder(root, Sharing::Shared)?;
        let service = root.join(id.service_folder());
        files::private_folder(&service)?;
        let name = format!(
            "{}{}-{}",
            files::PARTIAL_PREFIX,
            id.folder(),
            files::unique()
        );
        let partial = service.join(name);
        files::private_folder(&partial)?;
        let mut writer = Self {
            root: root.to_owned(),
            id,
            partial,
            lock: None,
        };
        match files::lock_folder(&writer.partial, Sharing::Exclusive) {
            Ok(lock) => writer.lock = Some(lock),
            Err(e) => {
                writer.discard();
                return Err(e);
            }
        }
        Ok(writer)
    }

    /// The identity it will have, unless another capture of the same process in the same second forces milliseconds into it.
    #[must_use]
    pub fn id(&self) -> &BundleId {
        &self.id
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The hidden folder, for tools that must write into it themselves.
    #[must_use]
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Begins the sealed dump `name` ([`CORE_FILE`], [`MINIDUMP_FILE`]).
    ///
    /// # Errors
    /// The name is not allowed, the file exists or cannot be created, or threads cannot be started.
    pub fn dump(&self, name: &str, options: &SealOptions) -> Result<SealWriter<DumpSink>> {
        check_file_name(name)?;
        let path = self.partial.join(name);
        let sink = DumpSink::new(files::create_private(&path)?);
        SealWriter::new(sink, options).map_err(|e| ArchiveError::io("seal", &path, e))
    }

    /// Wraps an error that a dump's [`SealWriter`] gave, so that it names the file and tells a full disk from the rest.
    #[must_use]
    pub fn seal_error(&self, name: &str, error: io::Error) -> ArchiveError {
        ArchiveError::io("seal", &self.root.join(self.id.key()).join(name), error)
    }

    /// Adds a small file. A name that ends in `.zst` is compressed here.
    ///
    /// # Errors
    /// The name is not allowed, the file exists, or the disk is full.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        check_file_name(name)?;
        let path = self.partial.join(name);
        let bytes = crate::document::packed(name, bytes)?;
        let mut file = files::create_private(&path)?;
        file.write_all(&bytes)
            .map_err(|e| ArchiveError::io("write", &path, e))
    }

    /// Writes the manifest, makes everything durable, and gives the bundle its name. Identity fields that the manifest leaves
    /// empty are filled in.
    ///
    /// # Errors
    /// The manifest names a dump that is not there in that size, or the disk failed; then the partial folder is removed.
    pub fn seal(mut self, mut manifest: Manifest) -> Result<Bundle> {
        self.complete(&mut manifest);
        self.check_dump(&manifest)?;
        let path = self.partial.join(MANIFEST_FILE);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| ArchiveError::BadDocument {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        self.put(MANIFEST_FILE, &text)?;
        self.make_durable()?;
        let archive = files::lock_folder(&self.root, Sharing::Shared)?;
        // Under the archive's lock nobody sweeps, so our own lock may go; Windows cannot rename a folder with open files.
        self.lock = None;
        let lock_file = self.partial.join(files::LOCK_FILE);
        fs::remove_file(&lock_file).map_err(|e| ArchiveError::io("remove", &lock_file, e))?;
        let bundle = self.rename(manifest.captured_at.unwrap_or(self.id.time()))?;
        drop(archive);
        Ok(bundle)
    }

    fn complete(&self, manifest: &mut Manifest) {
        manifest.schema = MANIFEST_SCHEMA;
        let fill = |field: &mut String, text: &str| {
            if field.is_empty() {
                text.clone_into(field);
            }
        };
        fill(&mut manifest.service, self.id.service());
        fill(&mut manifest.node, self.id.node());
        fill(
            &mut manifest.tool,
            concat!("leakhound ", env!("CARGO_PKG_VERSION")),
        );
        if manifest.pid == 0 {
            manifest.pid = self.id.pid();
        }
        manifest.captured_at.get_or_insert(self.id.time());
    }

    fn check_dump(&self, manifest: &Manifest) -> Result<()> {
        let Some(dump) = &manifest.dump else {
            return Ok(());
        };
        check_file_name(&dump.file)?;
        let path = self.partial.join(&dump.file);
        let found = fs::metadata(&path)
            .map_err(|e| ArchiveError::io("find", &path, e))?
            .len();
        if found == dump.stored_bytes {
            return Ok(());
        }
        Err(ArchiveError::BadDocument {
            path,
            reason: format!(
                "the manifest says {} bytes, the file has {found}",
                dump.stored_bytes
            ),
        })
    }

    fn make_durable(&self) -> Result<()> {
        let read =
            fs::read_dir(&self.partial).map_err(|e| ArchiveError::io("list", &self.partial, e))?;
        for entry in read {
            let path = entry
                .map_err(|e| ArchiveError::io("list", &self.partial, e))?
                .path();
            // Modules were made durable when they were written.
            if path.is_dir() {
                files::sync_folder(&path)?;
                continue;
            }
            // Opened for writing because Windows flushes only such handles.
            let synced = fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|f| f.sync_all());
            synced.map_err(|e| ArchiveError::io("make durable", &path, e))?;
        }
        files::sync_folder(&self.partial)
    }

    /// Renames the partial folder to the first free name: by the second, then by milliseconds.
    fn rename(&mut self, captured_at: jiff::Timestamp) -> Result<Bundle> {
        const ATTEMPTS: i64 = 1000;
        let service = self.root.join(self.id.service_folder());
        let mut id = self.id.clone();
        for attempt in 0..ATTEMPTS {
            let path = service.join(id.folder());
            if !path.exists() {
                match fs::rename(&self.partial, &path) {
                    Ok(()) => {
                        self.partial = PathBuf::new();
                        files::sync_folder(&service)?;
                        files::sync_folder(&self.root)?;
                        return Ok(Bundle::new(id, path));
                    }
                    // Someone took the name since we looked.
                    Err(_) if path.exists() => {}
                    Err(e) => return Err(ArchiveError::io("put in place", &path, e)),
                }
            }
            let later = jiff::SignedDuration::from_millis(attempt);
            id = self
                .id
                .with_millis(captured_at.saturating_add(later).unwrap_or(captured_at));
        }
        Err(ArchiveError::io(
            "put in place",
            &service.join(self.id.folder()),
            io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a thousand captures have this name",
            ),
        ))
    }

    fn discard(&mut self) {
        self.lock = None;
        if !self.partial.as_os_str().is_empty() {
            // Best effort: what cannot be removed now is swept at the next start.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        self.discard();
    }
}

/// The file of a dump; hands finished ranges to the disk early, so that sealing does not wait for all of it at the end.
#[derive(Debug)]
pub struct DumpSink {
    file: File,
    written_bytes: u64,
    handed_bytes: u64,
}

impl DumpSink {
    /// Bytes between two hints to the kernel.
    const HAND_OVER_BYTES: u64 = 8 << 20;

    fn new(file: File) -> Self {
        Self {
            file,
            written_bytes: 0,
            handed_bytes: 0,
        }
    }

    fn hand_over(&mut self) {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let n = self.written_bytes - self.handed_bytes;
            // SAFETY: a hint about our own descriptor; it changes no memory. Its failure only costs time.
            unsafe {
                libc::sync_file_range(
                    self.file.as_raw_fd(),
                    self.handed_bytes.cast_signed(),
                    n.cast_signed(),
                    libc::SYNC_FILE_RANGE_WRITE,
                );
            }
        }
        self.handed_bytes = self.written_bytes;
    }
}

impl Write for DumpSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written_bytes += n as u64;
        if self.written_bytes - self.handed_bytes >= Self::HAND_OVER_BYTES {
            self.hand_over();
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
