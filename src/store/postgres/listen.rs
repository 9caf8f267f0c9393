//! Tells that who waits for a session may have reason to look: one connection a process listens.
//!
//! A connection that is lost is made anew, and then everybody looks; so does who waits for long, by
//! itself. A network that swallows everything without a word is found out by asking.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::store::news::News;

/// What the tables notify (`schema.rs`).
const CHANNEL: &str = "husk_session";
/// After a connection that was lost or could not be made.
const AGAIN: Duration = Duration::from_secs(1);
/// How long nothing may come before it is asked whether the connection lives.
const SILENCE: Duration = Duration::from_secs(10);

/// Told by a task that listens.
pub(super) fn news(options: PgConnectOptions, patience: Duration) -> News {
    News::of(move |commits, wanted| listen(options, patience, commits, wanted))
}

async fn listen(
    options: PgConnectOptions,
    patience: Duration,
    commits: watch::Sender<u64>,
    wanted: Arc<Notify>,
) {
    // A server without sessions that others can name needs no connection for this.
    wanted.notified().await;
    loop {
        if let Err(error) = hear(&options, patience, &commits).await {
            tracing::debug!(%error, "cannot hear whether the store has changed");
        }
        commits.send_modify(|count| *count += 1);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Listens until the connection is lost.
async fn hear(
    options: &PgConnectOptions,
    patience: Duration,
    commits: &watch::Sender<u64>,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let late = |_elapsed| sqlx::Error::PoolTimedOut;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    timeout(patience, listener.listen(CHANNEL)).await.map_err(late)??;
    // What was committed before this connection listened, it cannot tell.
    commits.send_modify(|count| *count += 1);
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(heard) => match heard? {
                Some(_) => commits.send_modify(|count| *count += 1),
                None => return Ok(()),
            },
            Err(_) => {
                let asked = sqlx::query("SELECT 1").execute(&mut listener);
                timeout(patience, asked).await.map_err(late)??;
            }
        }
    }
}
