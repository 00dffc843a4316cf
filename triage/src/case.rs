//! One thing to diagnose, wherever it lies: a dump, a bundle, or a fact sheet alone.

use leakhound_archive::Bundle;
use leakhound_archive::bundle::{MANIFEST_FILE, SHEET_FILE};
use leakhound_rules::FactSheet;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A fact sheet is at most 1 MB by contract; a file that unpacks to more is not one.
const SHEET_LIMIT_BYTES: u64 = 16 << 20;

/// What there is to work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case {
    /// A dump that must be walked.
    Dump {
        /// The dump: raw, zstd or sealed.
        dump: PathBuf,
        /// The manifest that belongs to it.
        manifest: Option<PathBuf>,
        /// The bundle it is part of.
        bundle: Option<Bundle>,
    },
    /// A fact sheet without its dump.
    Sheet {
        /// The sheet, JSON or zstd of it.
        sheet: PathBuf,
        /// The bundle it is part of.
        bundle: Option<Bundle>,
    },
}

/// Why there is nothing to diagnose.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaseError {
    /// Nothing there, or no permission.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder without a manifest.
    #[error(
        "{path} is a folder, but not a bundle: it holds no capture.json. Give a dump file, or a folder that Leakhound wrote"
    )]
    NotABundle {
        /// The folder.
        path: PathBuf,
    },
    /// A bundle from which both dump and sheet are gone.
    #[error("{path} holds neither a dump nor a fact sheet any more; only its capture.json is left")]
    Empty {
        /// The bundle.
        path: PathBuf,
    },
    /// The manifest cannot be read.
    #[error(transparent)]
    Archive(#[from] leakhound_archive::ArchiveError),
    /// The sheet is not one.
    #[error("{path} is not a fact sheet: {reason}")]
    BadSheet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Case {
    /// Looks at `path`: a bundle folder, a sheet, or a dump with or without a manifest beside it.
    ///
    /// # Errors
    /// There is nothing that could be diagnosed.
    pub fn at(path: &Path) -> Result<Self, CaseError> {
        let about = |source| CaseError::Io {
            path: path.to_owned(),
            source,
        };
        let meta = std::fs::metadata(path).map_err(about)?;
        if meta.is_dir() {
            if !path.join(MANIFEST_FILE).is_file() {
                return Err(CaseError::NotABundle {
                    path: path.to_owned(),
                });
            }
            return Self::of_bundle(&Bundle::open(path)?);
        }
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let bundle = path
            .parent()
            .filter(|folder| folder.join(MANIFEST_FILE).is_file())
            .and_then(|folder| Bundle::open(folder).ok());
        if name == SHEET_FILE || name.ends_with(".json") || name.ends_with(".json.zst") {
            return Ok(Self::Sheet {
                sheet: path.to_owned(),
                bundle,
            });
        }
        // A manifest beside a dump describes it only when it names it.
        let bundle = bundle.filter(
            |b| matches!(b.dump_path(), Ok(Some(dump)) if dump.file_name() == path.file_name()),
        );
        Ok(Self::Dump {
            dump: path.to_owned(),
            manifest: bundle.as_ref().map(|b| b.path().join(MANIFEST_FILE)),
            bundle,
        })
    }

    /// The dump of a bundle, or its sheet when the dump is gone.
    ///
    /// # Errors
    /// Both are gone.
    pub fn of_bundle(bundle: &Bundle) -> Result<Self, CaseError> {
        if let Some(dump) = bundle.dump_path()? {
            return Ok(Self::Dump {
                dump,
                manifest: Some(bundle.path().join(MANIFEST_FILE)),
                bundle: Some(bundle.clone()),
            });
        }
        if bundle.has(SHEET_FILE) {
            return Ok(Self::Sheet {
                sheet: bundle.path().join(SHEET_FILE),
                bundle: Some(bundle.clone()),
            });
        }
        Err(CaseError::Empty {
            path: bundle.path().to_owned(),
        })
    }

    /// The bundle it is part of.
    #[must_use]
    pub fn bundle(&self) -> Option<&Bundle> {
        match self {
            Self::Dump { bundle, .. } | Self::Sheet { bundle, .. } => bundle.as_ref(),
        }
    }
}

/// Reads a fact sheet, JSON or zstd of it, within limits.
///
/// # Errors
/// It cannot be read, is too large, or is not a sheet.
pub fn read_sheet(path: &Path) -> Result<FactSheet, CaseError> {
    read_part(path, &|_| true)
}

/// As [`read_sheet`], with those of its lists alone that are wanted.
pub(crate) fn read_part(
    path: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<FactSheet, CaseError> {
    let bad = |reason: String| CaseError::BadSheet {
        path: path.to_owned(),
        reason,
    };
    // A small document: nothing that is made for dumps.
    let bytes = leakhound_archive::read_document(path).map_err(|error| CaseError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    if bytes.len() as u64 > SHEET_LIMIT_BYTES {
        return Err(bad(format!(
            "it unpacks to {} bytes, more than the {SHEET_LIMIT_BYTES} that a sheet may have",
            bytes.len()
        )));
    }
    // Checked once as a whole, not again for every word of it.
    let text = std::str::from_utf8(&bytes).map_err(|error| bad(error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let sheet = leakhound_rules::sheet::read_part(&mut reader, wanted);
    let sheet = sheet.and_then(|sheet| reader.end().map(|()| sheet));
    let mut sheet = sheet.map_err(|error| bad(error.to_string()))?;
    if sheet.schema == 0 || sheet.schema > leakhound_rules::sheet::SHEET_SCHEMA {
        return Err(bad(format!(
            "its schema is {}, this version reads 1 to {}",
            sheet.schema,
            leakhound_rules::sheet::SHEET_SCHEMA
        )));
    }
    sheet.upgrade();
    Ok(sheet)
}
