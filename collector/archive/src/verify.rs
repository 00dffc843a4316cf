//! Proves that a bundle is what its manifest says: hash, sizes, seek table, every frame, every document.

use crate::bundle::{Bundle, MANIFEST_FILE};
use crate::error::{ArchiveError, Result};
use crate::manifest::DumpRecord;
use crate::sealed::SealedFile;
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What is wrong, one sentence each; empty means that the bundle is whole.
    pub problems: Vec<String>,
    /// Files that were looked at.
    pub n_files: usize,
    /// Frames of the dump that were decoded.
    pub n_frames: u32,
    /// Raw bytes of the dump.
    pub raw_bytes: u64,
    /// Stored bytes of the dump.
    pub stored_bytes: u64,
}

impl Verified {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Most frames of which each problem is told; the rest is counted.
const TOLD_FRAMES: usize = 5;

impl crate::Archive {
    /// Reads all of `bundle` and checks it. `progress` is called with bytes done and bytes in all, from several threads.
    ///
    /// # Errors
    /// The manifest cannot be read at all. Everything else that is wrong is in the result.
    pub fn verify(
        &self,
        bundle: &Bundle,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verified> {
        verify(bundle, progress)
    }
}

/// Like [`crate::Archive::verify`], for a bundle anywhere.
///
/// # Errors
/// As there.
pub fn verify(bundle: &Bundle, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified> {
    let manifest = bundle.manifest()?;
    let mut verified = Verified::default();
    check_identity(bundle, &manifest, &mut verified);
    check_documents(bundle, manifest.dump.as_ref(), &mut verified)?;
    if let Some(record) = &manifest.dump {
        match bundle.dump_path()? {
            Some(path) => check_dump(&path, record, progress, &mut verified),
            None => {
                tracing::debug!(bundle = %bundle.id(), "The dump was pruned; its sheet lives on")
            }
        }
    }
    Ok(verified)
}

fn check_identity(bundle: &Bundle, manifest: &crate::Manifest, verified: &mut Verified) {
    let id = bundle.id();
    let mut differ = |what: &str, folder: &str, written: &str| {
        if folder != written {
            let sentence =
                format!("the folder says {what} {folder}, {MANIFEST_FILE} says {written}");
            verified.problems.push(sentence);
        }
    };
    differ("pid", &id.pid().to_string(), &manifest.pid.to_string());
    // Names that were too long are cut in the folder.
    if !id.service_folder().contains("==") {
        differ("service", id.service(), &manifest.service);
    }
}

fn check_documents(
    bundle: &Bundle,
    dump: Option<&DumpRecord>,
    verified: &mut Verified,
) -> Result<()> {
    let folder = bundle.path();
    for entry in fs::read_dir(folder)
        .map_err(|e| ArchiveError::io("list", folder, e))?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || dump.is_some_and(|d| d.file == name) {
            continue;
        }
        verified.n_files += 1;
        let json = name.trim_end_matches(".zst").ends_with(".json");
        let problem = if json {
            bundle.read_json::<serde::de::IgnoredAny>(&name).err()
        } else {
            bundle.read_bytes(&name).err()
        };
        verified.problems.extend(problem.map(|e| e.to_string()));
    }
    Ok(())
}

fn check_dump(
    path: &Path,
    record: &DumpRecord,
    progress: &(dyn Fn(u64, u64) + Sync),
    verified: &mut Verified,
) {
    verified.n_files += 1;
    let file = record.file.as_str();
    let stored_bytes = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) => return verified.problems.push(format!("{file}: {e}")),
    };
    verified.stored_bytes = stored_bytes;
    if stored_bytes != record.stored_bytes {
        let expected = record.stored_bytes;
        verified.problems.push(format!(
            "{file}: it has {stored_bytes} bytes, {MANIFEST_FILE} says {expected}"
        ));
    }
    // Hashing reads the stored bytes, decoding produces the raw bytes: progress counts both.
    let total = stored_bytes.saturating_add(record.raw_bytes);
    match hash(path, &|done| progress(done, total)) {
        Ok(found) if found == record.blake3 => {}
        Ok(found) => {
            let expected = &record.blake3;
            verified.problems.push(format!(
                "{file}: its BLAKE3 is {found}, {MANIFEST_FILE} says {expected}"
            ));
        }
        Err(e) => verified.problems.push(format!("{file}: {e}")),
    }
    match SealedFile::open(path) {
        Ok(sealed) => check_frames(
            &sealed,
            record,
            &|done| progress(stored_bytes + done, total),
            verified,
        ),
        Err(e) => verified.problems.push(format!("{file}: {e}")),
    }
}

fn check_frames(
    sealed: &SealedFile,
    record: &DumpRecord,
    progress: &(dyn Fn(u64) + Sync),
    verified: &mut Verified,
) {
    let table = sealed.table();
    verified.n_frames = table.n_frames();
    verified.raw_bytes = table.raw_bytes();
    if table.raw_bytes() != record.raw_bytes {
        verified.problems.push(format!(
            "{}: it holds {} raw bytes, {MANIFEST_FILE} says {}",
            record.file,
            table.raw_bytes(),
            record.raw_bytes
        ));
    }
    let done = AtomicU64::new(0);
    let damaged: Vec<String> = (0..table.n_frames())
        .into_par_iter()
        .filter_map(|index| {
            let frame = table.frame(index)?;
            let error = sealed.decode(frame).err();
            let bytes = u64::from(frame.raw_bytes);
            progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
            error.map(|e| e.to_string())
        })
        .collect();
    let untold = damaged.len().saturating_sub(TOLD_FRAMES);
    verified
        .problems
        .extend(damaged.into_iter().take(TOLD_FRAMES));
    if untold > 0 {
        verified
            .problems
            .push(format!("{}: {untold} more frames are damaged", record.file));
    }
}

fn hash(path: &Path, progress: &dyn Fn(u64)) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0u8; 1 << 20];
    let mut done = 0;
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&chunk[..n]);
        done += n as u64;
        progress(done);
    }
}
