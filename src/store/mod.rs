//! Floor 1: what outlives a process: how much was called, and who has which session, kept in one SQLite
//! file that all husk processes of a user share.
//!
//! The rows are this module's own; `app` carries them between here and the guards, which know
//! nothing of a database. A flush is one transaction and adds what happened since the last one, so
//! that processes side by side add up. Keeps counts only: no code, no output, no secret.

mod error;
mod open;
mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod usage;
mod watch;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

pub use error::StoreError;
pub use open::FILE;
pub use sessions::{SessionClaim, SessionHeld, SessionRow, SessionStep};
pub use usage::{Arrival, MOST_PRINCIPALS, TotalRow, UsageChanges, UsageRow};

/// Tells on which network file system a folder is, by its name; nothing for one of this machine.
pub type NetworkOf = fn(&Path) -> Option<&'static str>;

/// How the store waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a write waits for another process's.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5) }
    }
}

/// The open store. Clones share its connections: one that writes, two that read. Dropping it
/// loses nothing that was [`add`](Store::add)ed.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
    patience: Duration,
    writer: SqlitePool,
    readers: SqlitePool,
    watcher: watch::Watcher,
}

impl Store {
    /// Opens `husk.sqlite` in husk's data folder, and brings its tables to this version's. Makes
    /// the folder (0700) and the file (0600) where there is none.
    ///
    /// # Errors
    /// [`StoreError`], which names the file, what is wrong with it and what to do.
    pub async fn open(
        folder: &Path,
        network_of: NetworkOf,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        open::open(folder, network_of, settings).await
    }

    /// The file that holds everything (beside it, while it is open: `-wal` and `-shm`).
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Closes the connections, when those in use are done, and folds the write-ahead log into the
    /// file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Changes after each commit from here on, by whichever process. Subscribe before reading: then
    /// nothing that comes after what was read is missed.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.watcher.subscribe()
    }

    /// What a failed statement means for who waits for it.
    fn fault(&self, error: sqlx::Error) -> StoreError {
        StoreError::of(&self.file, self.patience, error)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of ours; one below zero is none of ours, and counts as nothing.
fn number(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}
