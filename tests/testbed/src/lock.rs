//! One process at a time prepares one thing: many test binaries start at once and share the folder.

use crate::error::{IoContext, Result};
use std::fs::File;
use std::path::Path;

/// Held until dropped; the kernel releases it when the process dies.
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock of `item` in the testbed folder.
pub(crate) fn lock(folder: &Path, item: &str) -> Result<Lock> {
    let locks = folder.join("locks");
    std::fs::create_dir_all(&locks).doing("create", &locks)?;
    let path = locks.join(item);
    let file = File::create(&path).doing("create", &path)?;
    file.lock().doing("lock", &path)?;
    Ok(Lock { _file: file })
}
