//! The archive folder: `SERVICE/TIME-NODE-PID/`. The folder is the truth; no index must agree with it.

use crate::bundle::{
    Bundle, BundleWriter, DIAGNOSIS_FILE, KEEP_FILE, MANIFEST_FILE, MODULES_FOLDER, SHEET_FILE,
    dump_files,
};
use crate::document;
use crate::error::{ArchiveError, Result};
use crate::files::{self, DELETED_PREFIX, PARTIAL_PREFIX, Sharing, TEMPORARY_PREFIX};
use crate::layout::{BundleId, check_file_name, service_folder, service_name};
use crate::limits::MAX_FOLDER_ENTRIES;
use crate::modules::POOL_FOLDER;
use jiff::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    root: PathBuf,
}

/// Which bundles to list. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this service, by its full name.
    pub service: Option<String>,
    /// Only this node.
    pub node: Option<String>,
    /// Only captures at or after this moment.
    pub since: Option<Timestamp>,
    /// Only captures before this moment.
    pub until: Option<Timestamp>,
    /// Only the newest so many.
    pub newest: Option<usize>,
}

/// What a listing found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Bundles in time order, oldest first.
    pub bundles: Vec<Bundle>,
    /// Folders that could not be looked at, one sentence each.
    pub problems: Vec<String>,
}

/// Bytes that one service occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUsage {
    /// Name of the service.
    pub service: String,
    /// Number of bundles.
    pub n_bundles: usize,
    /// Number of bundles that still have their dump.
    pub n_dumps: usize,
    /// All files of the bundles.
    pub stored_bytes: u64,
    /// Dumps alone.
    pub dump_bytes: u64,
    /// First capture.
    pub oldest: Timestamp,
    /// Last capture.
    pub newest: Timestamp,
}

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Partial bundles, half-deleted bundles and temporary files that were removed.
    pub removed: Vec<PathBuf>,
    /// Partial bundles that a living process is writing.
    pub n_in_use: usize,
    /// What could not be removed, one sentence each.
    pub problems: Vec<String>,
}

impl Archive {
    /// Opens an existing archive.
    ///
    /// # Errors
    /// There is no folder at `location`.
    pub fn open(location: &Path) -> Result<Self> {
        if !location.is_dir() {
            return Err(ArchiveError::NoArchive {
                path: location.to_owned(),
            });
        }
        Ok(Self {
            root: location.to_owned(),
        })
    }

    /// Opens an archive, creating the folder (for its owner only) if there is none.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open_or_create(location: &Path) -> Result<Self> {
        if !location.is_dir() {
            files::private_folders(location)?;
        }
        Self::open(location)
    }

    /// The folder.
    #[must_use]
    pub fn location(&self) -> &Path {
        &self.root
    }

    /// Bytes that its file system still has, if it tells.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        files::free_bytes(&self.root)
    }

    /// Begins a new bundle in a hidden folder.
    ///
    /// # Errors
    /// The folder cannot be created or the archive is locked.
    pub fn begin(
        &self,
        service: &str,
        captured_at: Timestamp,
        node: &str,
        pid: u32,
    ) -> Result<BundleWriter> {
        BundleWriter::begin(&self.root, BundleId::new(service, captured_at, node, pid))
    }

    /// Removes what crashes left behind. Bundles that a living process is writing stay.
    ///
    /// # Errors
    /// The archive is locked for too long or cannot be listed.
    pub fn sweep(&self) -> Result<Swept> {
        let _alone = files::lock_folder(&self.root, Sharing::Exclusive)?;
        let mut swept = Swept::default();
        for (path, removed) in self.sweep_modules() {
            swept.note(removed, path);
        }
        for service in folders(&self.root)? {
            if file_name(&service) == POOL_FOLDER {
                continue;
            }
            let Ok(entries) = folders(&service) else {
                continue;
            };
            for folder in entries {
                let name = file_name(&folder);
                if name.starts_with(PARTIAL_PREFIX) && files::is_in_use(&folder) {
                    swept.n_in_use += 1;
                } else if name.starts_with(PARTIAL_PREFIX) || name.starts_with(DELETED_PREFIX) {
                    swept.note(fs::remove_dir_all(&folder), folder);
                } else {
                    sweep_temporary(&folder, &mut swept);
                }
            }
            // Succeeds only on an empty folder, which is the intent.
            let _ = fs::remove_dir(&service);
        }
        Ok(swept)
    }

    /// The bundles that match `filter`, oldest first.
    ///
    /// # Errors
    /// The archive's folder cannot be listed.
    pub fn list(&self, filter: &Filter) -> Result<Listing> {
        let mut listing = Listing::default();
        let services = match &filter.service {
            Some(service) => vec![self.root.join(service_folder(service))],
            None => folders(&self.root)?,
        };
        for service in services {
            if file_name(&service).starts_with('.') || !service.is_dir() {
                continue;
            }
            match folders(&service) {
                Ok(found) => listing
                    .bundles
                    .extend(found.into_iter().filter_map(|f| as_bundle(&f))),
                Err(e) => listing.problems.push(e.to_string()),
            }
        }
        listing.bundles.retain(|b| filter.admits(b.id()));
        listing
            .bundles
            .sort_by_cached_key(|b| (b.id().time(), b.id().key()));
        if let Some(newest) = filter.newest {
            let surplus = listing.bundles.len().saturating_sub(newest);
            listing.bundles.drain(..surplus);
        }
        Ok(listing)
    }

    /// The bundle at `key` (`SERVICE/TIME-NODE-PID`), as the queue stores it.
    ///
    /// # Errors
    /// There is none.
    pub fn bundle(&self, key: &str) -> Result<Bundle> {
        let parts = key.split_once('/');
        let id = parts.and_then(|(service, folder)| BundleId::parse(service, folder));
        let found =
            id.and_then(|id| as_bundle(&self.root.join(id.service_folder()).join(id.folder())));
        found.ok_or_else(|| self.not_found(key))
    }

    /// Finds one bundle by path, key, beginning of its folder name or key, or `latest`.
    ///
    /// # Errors
    /// None or several match.
    pub fn find(&self, wanted: &str) -> Result<Bundle> {
        let path = Path::new(wanted);
        if path.join(MANIFEST_FILE).is_file() {
            return Bundle::open(path);
        }
        if path.is_file()
            && let Some(folder) = path.parent()
            && folder.join(MANIFEST_FILE).is_file()
        {
            return Bundle::open(folder);
        }
        if let Ok(bundle) = self.bundle(wanted) {
            return Ok(bundle);
        }
        let mut bundles = self.list(&Filter::default())?.bundles;
        if wanted == "latest" {
            return bundles.pop().ok_or_else(|| self.not_found(wanted));
        }
        if wanted.is_empty() {
            return Err(self.not_found(wanted));
        }
        bundles.retain(|b| b.id().folder().starts_with(wanted) || b.id().key().starts_with(wanted));
        match bundles.len() {
            0 => Err(self.not_found(wanted)),
            1 => Ok(bundles.remove(0)),
            _ => Err(ArchiveError::Ambiguous {
                wanted: wanted.to_owned(),
                candidates: bundles.iter().map(|b| b.id().key()).collect(),
            }),
        }
    }

    /// Adds or replaces a document of a sealed bundle: readers see the old or the whole new one. A name that ends in `.zst` is
    /// compressed here.
    ///
    /// # Errors
    /// The name is not allowed or is the manifest's, the bundle is gone, or the disk is full.
    pub fn put_file(&self, bundle: &Bundle, name: &str, bytes: &[u8]) -> Result<()> {
        check_file_name(name)?;
        if name == MANIFEST_FILE || name.starts_with("memory.") {
            return Err(ArchiveError::BadName {
                name: name.to_owned(),
                reason: "a sealed capture is never changed",
            });
        }
        let bytes = document::packed(name, bytes)?;
        // Keeps a sweep from taking the temporary file for a leftover.
        let _shared = files::lock_folder(&self.root, Sharing::Shared)?;
        files::replace_durably(bundle.path(), name, &bytes)
    }

    /// Protects a bundle from retention.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub fn keep(&self, bundle: &Bundle, reason: &str) -> Result<()> {
        self.put_file(bundle, KEEP_FILE, reason.as_bytes())
    }

    /// Ends the protection of a bundle.
    ///
    /// # Errors
    /// The marker cannot be removed.
    pub fn unkeep(&self, bundle: &Bundle) -> Result<()> {
        remove_if_there(&bundle.path().join(KEEP_FILE))
    }

    /// Bundles of `service` that have a fact sheet, oldest first: the history that growth rules judge.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn sheets(&self, service: &str) -> Result<Vec<Bundle>> {
        let filter = Filter {
            service: Some(service.to_owned()),
            ..Filter::default()
        };
        let mut bundles = self.list(&filter)?.bundles;
        bundles.retain(|b| b.has(SHEET_FILE));
        Ok(bundles)
    }

    /// Bundles without a diagnosis, oldest first: what to enqueue after a crash between seal and enqueue.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn undiagnosed(&self) -> Result<Vec<Bundle>> {
        let mut bundles = self.list(&Filter::default())?.bundles;
        bundles.retain(|b| !b.has(DIAGNOSIS_FILE));
        Ok(bundles)
    }

    /// Bytes per service, by name.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn usage(&self) -> Result<Vec<ServiceUsage>> {
        let mut services = std::collections::BTreeMap::<String, ServiceUsage>::new();
        for bundle in self.list(&Filter::default())?.bundles {
            let id = bundle.id();
            let dump_bytes = bundle.dump_bytes();
            let entry = services
                .entry(id.service().to_owned())
                .or_insert_with(|| ServiceUsage {
                    service: id.service().to_owned(),
                    n_bundles: 0,
                    n_dumps: 0,
                    stored_bytes: 0,
                    dump_bytes: 0,
                    oldest: id.time(),
                    newest: id.time(),
                });
            entry.n_bundles += 1;
            entry.n_dumps += usize::from(dump_bytes > 0);
            entry.stored_bytes += bundle.stored_bytes();
            entry.dump_bytes += dump_bytes;
            entry.newest = id.time();
        }
        Ok(services.into_values().collect())
    }

    /// Deletes a bundle. It disappears from listings at once; a crash meanwhile leaves a hidden folder for the next sweep.
    ///
    /// # Errors
    /// The bundle is not in this archive or cannot be renamed or removed.
    pub fn delete(&self, bundle: &Bundle) -> Result<()> {
        let here = self.bundle(&bundle.id().key())?;
        let service = self.root.join(here.id().service_folder());
        let doomed = service.join(format!(
            "{DELETED_PREFIX}{}-{}",
            here.id().folder(),
            files::unique()
        ));
        fs::rename(here.path(), &doomed).map_err(|e| ArchiveError::io("delete", here.path(), e))?;
        match fs::remove_dir_all(&doomed) {
            Ok(()) => Ok(()),
            // A sweep of another process was faster.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(ArchiveError::io("delete", &doomed, e)),
        }
    }

    /// Deletes only the dump of a bundle; manifest, sheet, diagnosis and report live on.
    ///
    /// # Errors
    /// The bundle is not in this archive or the dump cannot be removed.
    pub fn delete_dump(&self, bundle: &Bundle) -> Result<()> {
        let here = self.bundle(&bundle.id().key())?;
        for (path, _) in dump_files(here.path()) {
            remove_if_there(&path)?;
        }
        // Only a dump needs the modules of its process.
        let modules = here.path().join(MODULES_FOLDER);
        match fs::remove_dir_all(&modules) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(ArchiveError::io("remove", &modules, e)),
        }
        files::sync_folder(here.path())
    }

    fn not_found(&self, wanted: &str) -> ArchiveError {
        ArchiveError::NotFound {
            wanted: wanted.to_owned(),
            location: self.root.clone(),
        }
    }
}

impl Filter {
    /// Bundles of one service.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self {
            service: Some(name.to_owned()),
            ..Self::default()
        }
    }

    fn admits(&self, id: &BundleId) -> bool {
        // The folder was chosen by the service's name; on a file system that ignores case it may hold others too.
        let service = self.service.as_deref();
        service.is_none_or(|s| s == id.service() || service_name(id.service_folder()).is_none())
            && self.node.as_deref().is_none_or(|n| n == id.node())
            && self.since.is_none_or(|t| id.time() >= t)
            && self.until.is_none_or(|t| id.time() < t)
    }
}

impl Swept {
    fn note(&mut self, removed: std::io::Result<()>, path: PathBuf) {
        match removed {
            Ok(()) => self.removed.push(path),
            Err(e) => self
                .problems
                .push(ArchiveError::io("remove", &path, e).to_string()),
        }
    }
}

/// The bundle at `folder`, if its name and manifest say that it is one. Links are not followed.
fn as_bundle(folder: &Path) -> Option<Bundle> {
    let service = file_name(folder.parent()?);
    let id = BundleId::parse(&service, &file_name(folder))?;
    let real = fs::symlink_metadata(folder).ok()?.is_dir();
    (real && folder.join(MANIFEST_FILE).is_file()).then(|| Bundle::new(id, folder.to_owned()))
}

/// Folders right inside `folder`, without links.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).map_err(|e| ArchiveError::io("list", folder, e))?;
    let entries = read.take(MAX_FOLDER_ENTRIES).flatten();
    let only = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    Ok(only.map(|e| e.path()).collect())
}

fn sweep_temporary(bundle: &Path, swept: &mut Swept) {
    let Ok(read) = fs::read_dir(bundle) else {
        return;
    };
    for entry in read.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(TEMPORARY_PREFIX)
        {
            swept.note(fs::remove_file(entry.path()), entry.path());
        }
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(ArchiveError::io("remove", path, e)),
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
