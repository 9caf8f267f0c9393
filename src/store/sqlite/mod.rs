//! SQLite: one file that all husk processes of a user on one machine share.
//!
//! One connection writes, two read: whoever only looks waits for nobody.

mod open;
mod schema;
mod watch;

use std::{path::PathBuf, time::Duration};

use sqlx::{
    SqliteConnection, SqlitePool,
    query::Query,
    sqlite::{Sqlite as Database, SqliteArguments, SqliteRow},
};

pub use open::FILE;
pub(super) use open::open;

use super::{
    StoreError, UsageChanges,
    engine::{Access, Read, Value, bound, columns_of},
    news::News,
    statements::{FORGET_ARRIVALS, FORGET_MINUTES, Statements, columns, free, statements, step},
};

columns_of!(SqliteRow);

/// The time in milliseconds since 1970.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

/// The open file. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    pub(super) file: PathBuf,
    pub(super) patience: Duration,
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    news: News,
}

impl Sqlite {
    pub(super) const STATEMENTS: Statements = statements!(now!(), CLAIM);

    pub(super) async fn rows<T: Send + Unpin>(
        &self,
        access: Access,
        sql: &'static str,
        values: &[Value<'_>],
        read: Read<T>,
    ) -> Result<Vec<T>, StoreError> {
        let pool = match access {
            Access::Reads => &self.readers,
            Access::Writes => &self.writer,
        };
        let rows = bind(sql, values).try_map(|row: SqliteRow| read(&row)).fetch_all(pool).await;
        rows.map_err(|error| self.fault(error))
    }

    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let done = bind(sql, values).execute(&self.writer).await;
        Ok(done.map_err(|error| self.fault(error))?.rows_affected())
    }

    pub(super) async fn add(&self, changes: &UsageChanges) -> Result<(), StoreError> {
        self.flush(changes).await.map_err(|error| self.fault(error))
    }

    async fn flush(&self, changes: &UsageChanges) -> Result<(), sqlx::Error> {
        // The lock is taken first: a transaction that had read before could not wait for others.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        write(&mut transaction, changes).await?;
        let (first, last) = changes.kept();
        let arrivals = first.saturating_mul(60_000_000);
        let minutes = [Value::Number(first), Value::Number(last)];
        bind(FORGET_MINUTES, &minutes).execute(&mut *transaction).await?;
        let arrivals = [Value::Number(arrivals)];
        bind(FORGET_ARRIVALS, &arrivals).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    pub(super) fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Closes the connections, when those in use are done, and folds the write-ahead log into the
    /// file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// What a failed statement means for who waits for it.
    fn fault(&self, error: sqlx::Error) -> StoreError {
        StoreError::of(&self.file, self.patience, error)
    }
}

const CLAIM: &str = concat!(
    "INSERT INTO session (workspace, name, stage, was, epoch, holder, lease_until, generation, cells,
        attempts, retry_at, touched)
    VALUES ($1, $2, 'starting', 'off', 1, $3, ",
    now!(),
    " + $4, 0, 0, 0, 0, ",
    now!(),
    ") ON CONFLICT (workspace, name) DO UPDATE SET
        was = CASE stage WHEN 'starting' THEN was ELSE stage END,
        stage = 'starting',
        epoch = epoch + 1,
        holder = excluded.holder,
        lease_until = excluded.lease_until,
        attempts = CASE WHEN attempts > $6 THEN 0 ELSE attempts END,
        touched = excluded.touched
    WHERE ",
    free!(now!(), "$5"),
    " RETURNING ",
    columns!(now!())
);

/// Sums end at the largest integer: without `min`, SQLite would go on with a fraction.
const ADD_MINUTE: &str =
    "INSERT INTO usage (principal, minute, calls, tokens) VALUES ($1, $2, $3, $4)
    ON CONFLICT (principal, minute) DO UPDATE SET
        calls = min(calls + excluded.calls, 9223372036854775807),
        tokens = min(tokens + excluded.tokens, 9223372036854775807)";

const ADD_TOTAL: &str = "INSERT INTO usage_total
        (principal, tool, calls, tokens, faults, denied, joined, since, latest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (principal, tool) DO UPDATE SET
        calls = min(calls + excluded.calls, 9223372036854775807),
        tokens = min(tokens + excluded.tokens, 9223372036854775807),
        faults = min(faults + excluded.faults, 9223372036854775807),
        denied = min(denied + excluded.denied, 9223372036854775807),
        joined = min(joined + excluded.joined, 9223372036854775807),
        since = min(since, excluded.since),
        latest = max(latest, excluded.latest)";

const ADD_ARRIVAL: &str = "INSERT INTO arrival (principal, micros) VALUES ($1, $2)
    ON CONFLICT (principal) DO UPDATE SET micros = max(micros, excluded.micros)";

fn bind<'v>(sql: &'static str, values: &[Value<'v>]) -> Query<'v, Database, SqliteArguments> {
    bound!(sql, values)
}

async fn write(to: &mut SqliteConnection, changes: &UsageChanges) -> Result<(), sqlx::Error> {
    use Value::{Number, Text};
    for row in &changes.minutes {
        let (calls, tokens) = (Number(row.calls), Number(row.tokens));
        let values = [Text(&row.principal), Number(row.minute), calls, tokens];
        bind(ADD_MINUTE, &values).execute(&mut *to).await?;
    }
    for row in &changes.totals {
        let mut values = vec![Text(&row.principal), Text(&row.tool)];
        let numbers = [row.calls, row.tokens, row.faults, row.denied, row.joined, row.since];
        values.extend(numbers.map(Number));
        values.push(Number(changes.now));
        bind(ADD_TOTAL, &values).execute(&mut *to).await?;
    }
    for row in &changes.arrivals {
        let values = [Text(&row.principal), Number(row.micros)];
        bind(ADD_ARRIVAL, &values).execute(&mut *to).await?;
    }
    Ok(())
}
