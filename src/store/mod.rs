//! Floor 1: what outlives a process: how much was called, and who has which session, kept in one SQLite
//! file that all husk processes of a user share, or in a PostgreSQL database that servers on several
//! machines share.
//!
//! The rows are this module's own; `app` carries them between here and the guards, which know
//! nothing of a database. A flush is one transaction and adds what happened since the last one, so
//! that processes side by side add up. Keeps counts only: no code, no output, no secret.

mod engine;
mod error;
mod news;
#[cfg(feature = "postgres")]
mod postgres;
mod sessions;
pub mod settings;
pub mod shared;
mod sqlite;
mod statements;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod usage;

use std::path::Path;

use engine::Engine;
pub use error::StoreError;
#[cfg(feature = "postgres")]
pub use postgres::PostgresError;
pub use sessions::{SessionClaim, SessionHeld, SessionRow, SessionStep};
pub use settings::Settings;
pub use sqlite::FILE;
pub use usage::{Arrival, MOST_PRINCIPALS, TotalRow, UsageChanges, UsageRow};

/// Tells on which network file system a folder is, by its name; nothing for one of this machine.
pub type NetworkOf = fn(&Path) -> Option<&'static str>;

/// The open store. Clones share its connections. Dropping it loses nothing that was
/// [`add`](Store::add)ed.
#[derive(Debug, Clone)]
pub struct Store(Engine);

impl Store {
    /// Opens the database that the settings name, or else `husk.sqlite` in husk's data folder, and
    /// brings its tables to this version's. Makes the folder (0700) and the file (0600) where there is
    /// none.
    ///
    /// # Errors
    /// [`StoreError`], which names the file or database, what is wrong with it and what to do.
    pub async fn open(
        folder: &Path,
        network_of: NetworkOf,
        settings: &Settings,
    ) -> Result<Self, StoreError> {
        let patience = settings.patience();
        settings.can_be_used()?;
        #[cfg(feature = "postgres")]
        if let Some(url) = &settings.url {
            return Ok(Self(Engine::Postgres(postgres::open(url, settings).await?)));
        }
        Ok(Self(Engine::Sqlite(sqlite::open(folder, network_of, patience).await?)))
    }

    /// Closes the connections, when those in use are done.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Changes whenever somebody who waits for a session may have reason to look, whichever process
    /// gave it. Subscribe before reading: then nothing that comes after what was read is missed.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.commits()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
