//! From a sealed bundle to a diagnosis beside it: walk in the child, judge, write sheet, diagnosis and report.

use crate::case::{Case, CaseError, read_sheet};
use crate::child::{self, Modules, Progress, Request, Strings, WalkError};
use crate::diagnose::{Judged, diagnose, earlier_sheets};
use crate::report::{self, Format, Style};
use leakhound_archive::bundle::{DIAGNOSIS_FILE, REPORT_FILE, SHEET_FILE};
use leakhound_archive::{Archive, ArchiveError, Bundle};
use leakhound_rules::{FactSheet, RuleSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thiserror::Error;

/// What a walk may use and show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkLimits {
    /// Private memory of the parser child, bytes.
    pub memory_bytes: u64,
    /// Wall time of a walk, milliseconds.
    pub time_ms: u64,
    /// Where module files may come from.
    pub modules: Modules,
    /// Whether contents of strings may appear.
    pub strings: Strings,
}

impl Default for WalkLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            time_ms: 30 * 60 * 1_000,
            modules: Modules::Mapped,
            strings: Strings::Hashed,
        }
    }
}

/// Why a case has no diagnosis.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkError {
    /// There is nothing to diagnose.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The walk failed.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The result could not be stored.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl WorkError {
    /// True when trying again later may help; a damaged dump stays damaged.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Archive(_)
                | Self::Walk(
                    WalkError::Spawn { .. } | WalkError::Cancelled | WalkError::Died { .. }
                )
        )
    }
}

/// The sheet of a case: walked in a child process, or read when only the sheet is left. Blocks.
///
/// # Errors
/// See [`WorkError`].
pub fn sheet_of(
    case: &Case,
    service: Option<&str>,
    limits: &WalkLimits,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FactSheet, WorkError> {
    match case {
        Case::Sheet { sheet, .. } => Ok(read_sheet(sheet)?),
        Case::Dump { dump, manifest, .. } => {
            let mut request = limits.request(dump, manifest.as_deref());
            request.service = service.map(str::to_owned);
            Ok(child::walk(&request, cancel, progress)?)
        }
    }
}

impl WalkLimits {
    /// What a child is asked to read, within these limits.
    #[must_use]
    pub fn request(&self, dump: &Path, manifest: Option<&Path>) -> Request {
        Request {
            dump: absolute(dump),
            manifest: manifest.map(absolute),
            service: None,
            modules: match &self.modules {
                Modules::Folder(folder) => Modules::Folder(absolute(folder)),
                other => other.clone(),
            },
            strings: self.strings,
            memory_limit_bytes: self.memory_bytes,
            time_limit_ms: self.time_ms,
        }
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Works one archived bundle through and stores sheet, diagnosis and report beside the dump. Blocks.
///
/// # Errors
/// See [`WorkError`]; the bundle keeps what it had.
pub fn work(
    archive: &Archive,
    bundle: &Bundle,
    rules: &RuleSet,
    limits: &WalkLimits,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Judged, WorkError> {
    let case = Case::of_bundle(bundle)?;
    let sheet = sheet_of(&case, None, limits, cancel, progress)?;
    if matches!(case, Case::Dump { .. }) {
        archive.put_file(bundle, SHEET_FILE, &to_json(&sheet))?;
    }
    let earlier = earlier_sheets(archive, &sheet);
    let judged = diagnose(sheet, &earlier, rules);
    store(archive, bundle, &judged)?;
    Ok(judged)
}

/// Stores a diagnosis and its report in the bundle they belong to.
///
/// # Errors
/// The archive cannot be written.
pub fn store(archive: &Archive, bundle: &Bundle, judged: &Judged) -> Result<(), ArchiveError> {
    let Judged { sheet, diagnosis } = judged;
    let page = report::render(diagnosis, sheet, Format::Html, &Style::plain());
    archive.put_file(bundle, REPORT_FILE, page.as_bytes())?;
    // The diagnosis is last: its presence says that the bundle is done.
    archive.put_file(bundle, DIAGNOSIS_FILE, &to_json(diagnosis))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    // Maps with text keys and finite numbers always serialize.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}
