//! `state.db`: the one SQLite database of a node, in the archive folder.
//!
//! It holds what a folder of bundles cannot say: the queue, and under their own names the collector's budgets and the outbox
//! of notifications. Each owner keeps its tables under a component name with its own schema version. The database is private (0600),
//! in write-ahead mode, and durable at each commit: a killed process or a power cut loses nothing that was committed.
//!
//! Invariant: the bundles are the truth. Losing this file loses no capture.

use crate::error::{ArchiveError, Result};
use crate::files;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Name of the database in the archive folder.
pub const STATE_FILE: &str = "state.db";

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The open database; clones share one connection.
#[derive(Debug, Clone)]
pub struct State {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

impl State {
    /// Opens or creates `state.db` in `folder`.
    ///
    /// # Errors
    /// The file cannot be created, or is no database.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE_FILE);
        // SQLite gives its companions (-wal, -shm) the permissions of the database, so the file is made private first.
        let created = files::private_options()
            .create(true)
            .truncate(false)
            .open(&path);
        created.map_err(|e| ArchiveError::io("create", &path, e))?;
        let connection = connect(&path).map_err(|e| failed(&path, "open the database", &e))?;
        let state = Self {
            connection: Arc::new(Mutex::new(connection)),
            path,
        };
        let versions = "CREATE TABLE IF NOT EXISTS schema_versions (
                component TEXT PRIMARY KEY,
                version INTEGER NOT NULL
            ) STRICT";
        state.write("prepare the database", |t| {
            t.execute(versions, []).map(drop)
        })?;
        Ok(state)
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the tables of `component` up to date: `steps[n]` takes its schema from version `n` to `n + 1`. Steps that were
    /// released are never edited, only followed by others. All steps that are due happen in one transaction, or none.
    ///
    /// # Errors
    /// A step fails, or the tables were written by a newer program.
    pub fn migrate(&self, component: &str, steps: &[&str]) -> Result<()> {
        let newest = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let found = self.write("bring the tables up to date", |t| {
            let found = t
                .query_row(
                    "SELECT version FROM schema_versions WHERE component = ?1",
                    [component],
                    |r| r.get(0),
                )
                .optional()?
                .unwrap_or(0u32);
            for step in steps.iter().skip(found as usize) {
                t.execute_batch(step)?;
            }
            if found < newest {
                let remember = "INSERT INTO schema_versions (component, version) VALUES (?1, ?2)
                    ON CONFLICT (component) DO UPDATE SET version = excluded.version";
                t.execute(remember, rusqlite::params![component, newest])?;
            }
            Ok(found)
        })?;
        if found <= newest {
            return Ok(());
        }
        Err(ArchiveError::State {
            path: self.path.clone(),
            reason: format!(
                "the tables of `{component}` have version {found}, this program knows up to {newest}; use the newer leakhound"
            ),
        })
    }

    /// Runs `work` in a transaction that may write; it commits when `work` succeeds. `doing` completes "cannot …" in an error.
    ///
    /// # Errors
    /// `work` or the commit fails; then nothing of it happened.
    pub fn write<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Immediate: a transaction that begins by reading and then writes could not wait for another writer.
        let result = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let value = work(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
        result.map_err(|e| failed(&self.path, doing, &e))
    }

    /// Runs `work` that only reads.
    ///
    /// # Errors
    /// `work` fails.
    pub fn read<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|e| failed(&self.path, doing, &e))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit survives a power cut, not only a crash. There are a few commits per capture, no more.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn failed(path: &Path, doing: &str, error: &rusqlite::Error) -> ArchiveError {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase};
    let reason = match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => format!(
            "cannot {doing}: {error}; stop leakhound and move the file aside: the bundles are intact, only the queue, \
             budgets and unsent notifications are lost"
        ),
        Some(DiskFull) => format!(
            "cannot {doing}: the disk is full; free some space, or lower `retain` under [archive]"
        ),
        Some(DatabaseBusy) => format!(
            "cannot {doing}: another process has been writing for more than {} s",
            BUSY_TIMEOUT.as_secs()
        ),
        _ => format!("cannot {doing}: {error}"),
    };
    ArchiveError::State {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_run_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let first = ["CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES (1)"];
        let second = [first[0], "UPDATE t SET a = a + 10"];
        for steps in [&first[..], &first[..], &second[..], &second[..]] {
            State::open(folder.path())
                .unwrap()
                .migrate("test", steps)
                .unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let a: i64 = state
            .read("look", |c| c.query_row("SELECT a FROM t", [], |r| r.get(0)))
            .unwrap();
        assert_eq!(a, 11);
        let error = state.migrate("test", &first).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("newer leakhound"),
            "{error}"
        );
    }

    #[test]
    fn a_failing_step_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let bad = [
            "CREATE TABLE t (a INTEGER) STRICT",
            "INSERT INTO missing VALUES (1)",
        ];
        assert!(state.migrate("test", &bad).is_err());
        state.migrate("test", &bad[..1]).unwrap();
    }

    #[test]
    fn garbage_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STATE_FILE), [0x5A; 8192]).unwrap();
        let error = State::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("state.db") && error.contains("the bundles are intact"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state
            .migrate("test", &["CREATE TABLE t (a INTEGER) STRICT"])
            .unwrap();
        let mut n = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            n += 1;
        }
        assert!(n >= 2, "the write-ahead log must be there to be checked");
    }
}
