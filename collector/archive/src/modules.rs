//! Files of the process's modules beside a dump that lacks their metadata.
//!
//! A deployment captured twice has the same modules: each build is stored once, in `ARCHIVE/.modules/KEY/NAME`, and every
//! bundle has a hard link to it in its own `modules/`. A bundle copied elsewhere takes its modules along. What no bundle links to
//! any more goes with the next sweep.

use crate::archive::Archive;
use crate::bundle::{BundleWriter, MODULES_FOLDER};
use crate::error::{ArchiveError, Result};
use crate::files;
use crate::layout::check_file_name;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Folder of the archive with one copy of every module.
pub(crate) const POOL_FOLDER: &str = ".modules";
/// Entries of the pool that one sweep looks at.
const MAX_POOL_ENTRIES: usize = 100_000;

impl BundleWriter {
    /// Adds a module's file. `key` names its build: two files with equal key and name are taken for the same.
    ///
    /// # Errors
    /// A name is not allowed, or the disk failed.
    pub fn put_module(&self, key: &str, name: &str, from: &mut dyn Read) -> Result<()> {
        check_file_name(key)?;
        check_file_name(name)?;
        // Keeps a sweep out until the link is there.
        let _archive = files::lock_folder(self.root(), files::Sharing::Shared)?;
        let pooled = self.pooled(key, name, from)?;
        let folder = self.partial_path().join(MODULES_FOLDER);
        files::private_folder(&folder)?;
        let path = folder.join(name);
        match fs::hard_link(&pooled, &path) {
            Ok(()) => Ok(()),
            // Two modules of one name (in two load contexts): the second lies in a folder of its own.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let own = folder.join(key);
                files::private_folder(&own)?;
                link_or_copy(&pooled, &own.join(name))
            }
            Err(_) => link_or_copy(&pooled, &path),
        }
    }

    /// The pool's copy, written now when it is the first of its build.
    fn pooled(&self, key: &str, name: &str, from: &mut dyn Read) -> Result<PathBuf> {
        let pool = self.root().join(POOL_FOLDER);
        files::private_folder(&pool)?;
        let folder = pool.join(key);
        files::private_folder(&folder)?;
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let temporary = folder.join(format!(
            "{}{name}-{}",
            files::TEMPORARY_PREFIX,
            files::unique()
        ));
        let written = (|| {
            let mut file = files::create_private(&temporary)?;
            io::copy(from, &mut file)
                .and_then(|_| file.sync_all())
                .map_err(|e| ArchiveError::io("write", &path, e))?;
            fs::rename(&temporary, &path).map_err(|e| ArchiveError::io("put in place", &path, e))
        })();
        if written.is_err() {
            // Best effort: the next sweep removes what stays.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| path)
    }
}

/// A file system without hard links gets a copy.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copied = File::open(from).and_then(|mut source| {
        let mut target = files::private_options().create_new(true).open(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    });
    copied.map_err(|e| ArchiveError::io("write", to, e))
}

impl Archive {
    /// Removes modules that no bundle links to; called while nobody writes.
    pub(crate) fn sweep_modules(&self) -> Vec<(PathBuf, io::Result<()>)> {
        let mut removed = Vec::new();
        let builds = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.take(MAX_POOL_ENTRIES).map(|e| e.path()).collect()
        };
        for build in builds(&self.location().join(POOL_FOLDER)) {
            for file in builds(&build) {
                if !is_linked(&file) {
                    let gone = fs::remove_file(&file);
                    removed.push((file, gone));
                }
            }
            // Succeeds only on an empty folder, which is the intent.
            let _ = fs::remove_dir(&build);
        }
        removed
    }
}

/// Some bundle has a link to the file; where links cannot be counted, nothing is ever removed.
fn is_linked(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(file).is_ok_and(|meta| meta.nlink() > 1)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::manifest::Manifest;

    fn bundle(archive: &Archive, pid: u32) -> BundleWriter {
        archive
            .begin(
                "cart",
                jiff::Timestamp::from_second(1_700_000_000).unwrap(),
                "n",
                pid,
            )
            .unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn a_build_is_stored_once_and_goes_with_its_last_bundle() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(folder.path()).unwrap();
        let (first, second) = (bundle(&archive, 1), bundle(&archive, 2));
        for writer in [&first, &second] {
            writer
                .put_module("5f7a3b21-8000", "Shop.dll", &mut &b"one"[..])
                .unwrap();
        }
        second
            .put_module("11112222-8000", "Shop.dll", &mut &b"other"[..])
            .unwrap();
        let first = first.seal(Manifest::default()).unwrap();
        let second = second.seal(Manifest::default()).unwrap();
        let of = |b: &crate::Bundle| b.path().join(MODULES_FOLDER).join("Shop.dll");
        assert_eq!(fs::read(of(&first)).unwrap(), b"one");
        assert_eq!(
            fs::metadata(of(&first)).unwrap().ino(),
            fs::metadata(of(&second)).unwrap().ino()
        );
        let apart = second.path().join("modules/11112222-8000/Shop.dll");
        assert_eq!(fs::read(apart).unwrap(), b"other");

        let pool = folder.path().join(POOL_FOLDER);
        archive.delete(&second).unwrap();
        archive.sweep().unwrap();
        assert!(
            pool.join("5f7a3b21-8000/Shop.dll").is_file(),
            "the first still has it"
        );
        assert!(!pool.join("11112222-8000").exists());
        archive.delete_dump(&first).unwrap();
        assert!(
            !first.path().join(MODULES_FOLDER).exists(),
            "no dump, no modules"
        );
        archive.sweep().unwrap();
        assert!(!pool.join("5f7a3b21-8000").exists());
        assert_eq!(
            archive
                .list(&crate::Filter::default())
                .unwrap()
                .bundles
                .len(),
            1
        );
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let writer = bundle(&Archive::open(folder.path()).unwrap(), 1);
        for (key, name) in [("k", "../x.dll"), ("..", "x.dll"), ("k", ".x"), ("", "x")] {
            assert!(writer.put_module(key, name, &mut &b""[..]).is_err());
        }
    }
}
