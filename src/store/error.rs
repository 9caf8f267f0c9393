//! What can be wrong with a store: each with the file's name and a way out.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::migrate::MigrateError;

/// The store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder is not there and cannot be made.
    #[error("cannot make the folder `{}` for husk's data; set `data_dir` to another", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Locks and shared memory do not work there.
    #[error(
        "`{}` is on a network file system ({kind}), where SQLite would lose data; set `data_dir` to a folder of this machine",
        .file.display()
    )]
    Network {
        /// The file.
        file: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// A folder, a pipe or the like has the file's name.
    #[error("`{}` is no file; move it away, or set `data_dir` to another folder", .file.display())]
    NoFile {
        /// What is there.
        file: PathBuf,
    },
    /// The file cannot be made or opened.
    #[error("cannot open `{}`; let this user read and write it and its folder, or set `data_dir` to another folder", .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no database, or a damaged one.
    #[error(
        "`{}` is damaged or no SQLite database; move it and its `-wal` and `-shm` away: husk then begins a new one, with usage counted from zero and no session known",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// Another process kept it locked.
    #[error(
        "`{}` was locked by another process for {} s; end that process (`fuser -v` with the file's name shows it)",
        .file.display(), .waited.as_secs_f32()
    )]
    Locked {
        /// The file.
        file: PathBuf,
        /// How long husk waited.
        waited: Duration,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// It cannot be written.
    #[error("`{}` can only be read; let this user write it and its folder, or set `data_dir` to another folder", .file.display())]
    ReadOnly {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// There is no room.
    #[error("no room to write `{}`; free some on its disk, or set `data_dir` to a folder on another", .file.display())]
    Full {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// A later husk has changed it.
    #[error(
        "`{}` was brought to version {version} by a later husk, and this one knows {known}; start that one, or set `data_dir` to another folder",
        .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version of the file.
        version: i64,
        /// The last version known here.
        known: i64,
    },
    /// Its tables are not those of any released husk.
    #[error(
        "the tables of `{}` are not those that husk makes; move it and its `-wal` and `-shm` away, or set `data_dir` to another folder",
        .file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What differs.
        source: MigrateError,
    },
    /// It was closed.
    #[error("`{}` is closed already: this server is ending", .file.display())]
    Closed {
        /// The file.
        file: PathBuf,
    },
    /// A database was named, and husk cannot speak to one.
    #[error(
        "`{database}` needs a husk that was built with PostgreSQL (cargo install --features postgres)"
    )]
    NotBuilt {
        /// The database.
        database: String,
    },
    /// The database.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(super::postgres::PostgresError),
    /// Anything else that SQLite reports.
    #[error("cannot use `{}`; if this comes again, move it away: husk then begins a new one", .file.display())]
    Other {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
}

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
mod code {
    pub(super) const PERM: u32 = 3;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

/// The primary code of SQLite's answer; its extended codes have it in the lowest byte.
fn primary(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

/// Whether waiting and doing it again may help.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(code::BUSY | code::LOCKED))
}

impl StoreError {
    /// Whether it may be over when the same is tried again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::Full { .. } => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(error) => error.passes(),
            _ => false,
        }
    }

    /// What a statement's failure means.
    pub(super) fn of(file: &Path, waited: Duration, source: sqlx::Error) -> Self {
        let file = file.to_owned();
        match primary(&source) {
            Some(code::BUSY | code::LOCKED) => Self::Locked { file, waited, source },
            Some(code::READONLY | code::PERM) => Self::ReadOnly { file, source },
            Some(code::CORRUPT | code::NOTADB) => Self::Damaged { file, source },
            Some(code::FULL) => Self::Full { file, source },
            Some(code::CANTOPEN) => Self::Open { file, source: io::Error::other(source) },
            // The only connection that writes was not free: it waits for another process's lock.
            _ if matches!(source, sqlx::Error::PoolTimedOut) => {
                Self::Locked { file, waited, source }
            }
            _ if matches!(source, sqlx::Error::PoolClosed) => Self::Closed { file },
            _ => Self::Other { file, source },
        }
    }

    /// What a migration's failure means; `known` is the last version that there is here.
    pub(super) fn of_migration(
        file: &Path,
        waited: Duration,
        known: i64,
        error: MigrateError,
    ) -> Self {
        let file_name = file.to_owned();
        match error {
            MigrateError::VersionMissing(version) if version > known => {
                Self::Newer { file: file_name, version, known }
            }
            MigrateError::Execute(error) => Self::of(file, waited, error),
            MigrateError::ExecuteMigration(error, version) => match Self::of(file, waited, error) {
                Self::Other { file, source } => {
                    Self::Foreign { file, source: MigrateError::ExecuteMigration(source, version) }
                }
                known => known,
            },
            other => Self::Foreign { file: file_name, source: other },
        }
    }
}
