//! Opens the file: looks before SQLite does, so that what is wrong can be said, and brings the
//! tables up to date.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use super::{Sqlite, schema, watch};
use crate::store::{NetworkOf, StoreError, error, steps};

/// The file's name in the data folder.
pub const FILE: &str = "husk.sqlite";

/// Pause before a file that another process is just setting up is tried again.
const PAUSE: Duration = Duration::from_millis(10);

const READERS: u32 = 2;

/// Opens the file of that folder, and brings its tables to this version's.
pub(in crate::store) async fn open(
    folder: &Path,
    network_of: NetworkOf,
    patience: Duration,
) -> Result<Sqlite, StoreError> {
    let file = folder.join(FILE);
    prepare(folder, &file, network_of)?;
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(SqliteJournalMode::Wal)
        // With a write-ahead log, a power cut can lose the last seconds, never the file.
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(patience)
        .disable_statement_logging();
    set_up(&file, &options, patience).await?;
    let reading = options.clone().pragma("query_only", "ON");
    Ok(Sqlite {
        file,
        patience,
        writer: pool(1, patience, options),
        news: watch::news(reading.clone()),
        readers: pool(READERS, patience, reading),
    })
}

/// Connections that stay: opening one anew buys nothing, and the file may have been moved.
fn pool(most: u32, patience: Duration, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(most)
        // Who is next in the queue waits for the one before it, and then for the lock.
        .acquire_timeout(patience * 2)
        .idle_timeout(None)
        .max_lifetime(None)
        // On a full disk SQLite ends a transaction by itself. sqlx then counts it as open for good,
        // and would begin no other on that connection.
        .before_acquire(|connection, _| {
            Box::pin(std::future::ready(Ok(!connection.is_in_transaction())))
        })
        .connect_lazy_with(options)
}

/// Makes folder and file where there is none, and refuses what SQLite would stumble over.
fn prepare(folder: &Path, file: &Path, network_of: NetworkOf) -> Result<(), StoreError> {
    let no_folder = |source| StoreError::Folder { folder: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(no_folder)?;
    if let Some(kind) = network_of(folder) {
        return Err(StoreError::Network { file: file.to_owned(), kind });
    }
    let cannot = |source| StoreError::Open { file: file.to_owned(), source };
    match fs::metadata(file) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(StoreError::NoFile { file: file.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, file).map_err(cannot),
        Err(error) => Err(cannot(error)),
    }
}

/// Makes an empty file that only this user can read; one that has come meanwhile is as good.
///
/// Under another name first: closing a file of the database's name would take away the locks that
/// this process has on it.
fn make(folder: &Path, file: &Path) -> io::Result<()> {
    let empty = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
    match empty.persist_noclobber(file) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// Brings the tables up to date. Several processes may be at it at once: the change to a
/// write-ahead log does not wait for others by itself, so it is tried until patience ends.
async fn set_up(
    file: &Path,
    options: &SqliteConnectOptions,
    patience: Duration,
) -> Result<(), StoreError> {
    let end = Instant::now() + patience;
    loop {
        let error = match attempt(options).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let busy = match &error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                error::is_busy(error)
            }
            _ => false,
        };
        if !busy || Instant::now() >= end {
            return Err(StoreError::of_migration(
                file,
                patience,
                steps::newest(schema::STEPS),
                error,
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(options: &SqliteConnectOptions) -> Result<(), MigrateError> {
    let mut connection = options.connect().await?;
    let done = migrate(&mut connection).await;
    // Whatever the outcome, the file is let go before it is looked at again.
    let closed = connection.close().await;
    done?;
    Ok(closed?)
}

/// All steps in one transaction, which has the file to itself.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Not `run`: of a future with its `Acquire` in it, the compiler makes no task.
    steps::migrator(schema::STEPS).run_direct(None, &mut *transaction, false).await?;
    // Takes nothing away, and fails where the file can only be read, which the beginning does not.
    sqlx::query("DELETE FROM usage WHERE false").execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}
