//! Tells that something was committed, by whichever process.
//!
//! SQLite tells nobody; a connection of its own looks every five milliseconds, as long as somebody
//! wants to know, whether others have committed. That costs about 40 µs a look.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Notify, watch};

use crate::store::news::News;

/// Between two looks.
const LOOKS: Duration = Duration::from_millis(5);
/// After a look that failed: who waits looks for itself meanwhile.
const AGAIN: Duration = Duration::from_millis(200);

/// Told by a task that looks.
pub(super) fn news(options: SqliteConnectOptions) -> News {
    News::of(move |commits, wanted| look(options, commits, wanted))
}

async fn look(options: SqliteConnectOptions, commits: watch::Sender<u64>, wanted: Arc<Notify>) {
    loop {
        if commits.receiver_count() == 0 {
            wanted.notified().await;
            continue;
        }
        let Err(error) = look_while_wanted(&options, &commits).await else { continue };
        tracing::debug!(%error, "cannot see whether the store has changed");
        tokio::time::sleep(AGAIN).await;
        commits.send_modify(|count| *count += 1);
    }
}

async fn look_while_wanted(
    options: &SqliteConnectOptions,
    commits: &watch::Sender<u64>,
) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    let mut before = version(&mut connection).await?;
    // What was committed before this connection saw its first version, it cannot tell.
    commits.send_modify(|count| *count += 1);
    while commits.receiver_count() > 0 {
        tokio::time::sleep(LOOKS).await;
        let now = version(&mut connection).await?;
        if now != before {
            before = now;
            commits.send_modify(|count| *count += 1);
        }
    }
    Ok(())
}

/// A number that changes with each commit of another connection.
async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await
}
