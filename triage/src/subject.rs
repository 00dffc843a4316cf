//! The process that a request is about: a dump with its manifest and module files, or a running process. Parser child only.

use crate::child::{Modules, Request};
use leakhound_archive::bundle::MODULES_FOLDER;
use leakhound_archive::{Manifest, ReadAt};
use leakhound_dump::{DumpError, FileOverlay, FileSearch, Limits, ModuleFiles, ProcessImage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// `capture.json` holds a memory map of at most some ten thousand lines.
const MANIFEST_LIMIT_BYTES: u64 = 64 << 20;

/// A process image with what is known beside it.
pub struct Subject {
    /// The process.
    pub image: ProcessImage,
    /// `capture.json`, when there is one.
    pub manifest: Option<Manifest>,
    /// It runs, and changes while it is read.
    pub live: bool,
}

/// Why there is nothing to read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The manifest beside it is not one.
    #[error("{path} is not a manifest: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Subject {
    /// Opens the dump that `request` names.
    ///
    /// # Errors
    /// The file is not a dump, or nothing useful can be read from it.
    pub fn open(request: &Request) -> Result<Self, SubjectError> {
        let manifest = request.manifest.as_deref().map(read_manifest).transpose()?;
        let source =
            leakhound_archive::open_readable(&request.dump).map_err(|source| SubjectError::Io {
                path: request.dump.clone(),
                source,
            })?;
        let mut image = leakhound_dump::open(source)?;
        if let Some(search) = file_search(request) {
            let files = Arc::new(ModuleFiles::new(search, &Limits::default()));
            FileOverlay::apply(&mut image, &files);
        }
        Ok(Self {
            image,
            manifest,
            live: false,
        })
    }

    /// A frozen copy of a process that was opened already; what it belongs to stands in the manifest that `request` names.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn frozen(request: &Request, image: ProcessImage) -> Result<Self, SubjectError> {
        Ok(Self {
            image,
            manifest: request.manifest.as_deref().map(read_manifest).transpose()?,
            live: false,
        })
    }

    /// A running process that was opened already.
    #[must_use]
    pub fn running(image: ProcessImage) -> Self {
        Self {
            image,
            manifest: None,
            live: true,
        }
    }
}

/// Folders that hold module files: the one that was given, and the bundle's own.
#[must_use]
pub fn module_folders(request: &Request) -> Vec<PathBuf> {
    let given = match &request.modules {
        Modules::Folder(folder) => Some(folder.clone()),
        Modules::None | Modules::Mapped => None,
    };
    let beside = request
        .manifest
        .as_deref()
        .and_then(Path::parent)
        .map(|bundle| bundle.join(MODULES_FOLDER))
        .filter(|folder| folder.is_dir());
    given.into_iter().chain(beside).collect()
}

fn file_search(request: &Request) -> Option<FileSearch> {
    let search = FileSearch {
        sysroot: (request.modules == Modules::Mapped).then(|| PathBuf::from("/")),
        folders: module_folders(request),
    };
    (search != FileSearch::default()).then_some(search)
}

fn read_manifest(path: &Path) -> Result<Manifest, SubjectError> {
    let about = |source| SubjectError::Io {
        path: path.to_owned(),
        source,
    };
    let file = leakhound_archive::read_at::PlainFile::open(path).map_err(about)?;
    let bad = |reason: String| SubjectError::Manifest {
        path: path.to_owned(),
        reason,
    };
    if file.len() > MANIFEST_LIMIT_BYTES {
        return Err(bad(format!(
            "it has {} bytes, more than the {MANIFEST_LIMIT_BYTES} that a manifest may have",
            file.len()
        )));
    }
    let mut bytes = vec![0; file.len() as usize];
    let n = file.read_at(0, &mut bytes).map_err(about)?;
    serde_json::from_slice(&bytes[..n]).map_err(|error| bad(error.to_string()))
}
