//! PostgreSQL: a database that servers on several machines share.
//!
//! Every statement has an end: what does not answer in time is given up together with its
//! connection, so that one that hangs is never used again. What was given up may have been done all
//! the same; the statements are such that doing them again tells.

pub(super) mod address;
mod error;
mod listen;
mod schema;

use std::{sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::MigrateError,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, Postgres as Database},
    query::Query,
};
use tokio::time::{Instant, timeout, timeout_at};

pub use error::PostgresError;

use super::{
    Settings, StoreError, UsageChanges,
    engine::{Access, Read, Value, bound, columns_of, plain},
    news::News,
    settings::Url,
    signed,
    statements::{FORGET_ARRIVALS, FORGET_MINUTES, Statements, columns, free, statements, step},
    steps,
};

/// A connection that was not used for so long is asked whether it lives before it is used.
const STALE: Duration = Duration::from_secs(1);
/// Before a connection is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Under this advisory lock one server after the other writes what was used: rows that two of them
/// change in other orders would lock each other.
const FLUSHES: i64 = 0x6875_736b_0001;

columns_of!(PgRow);

/// The time in milliseconds since 1970; `now()` would be the time at which a transaction began.
macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    /// Its address, without the password.
    shown: Arc<str>,
    patience: Duration,
    pub(super) pool: PgPool,
    news: News,
}

/// Connects, and brings the tables to this version's.
pub(super) async fn open(url: &Url, settings: &Settings) -> Result<Postgres, StoreError> {
    let (shown, patience) = (Arc::<str>::from(url.to_string()), settings.patience());
    let failed = |error| StoreError::Postgres(PostgresError::of(&shown, patience, error));
    address::readable(url).map_err(StoreError::Postgres)?;
    let options = address::options(url).map_err(failed)?;
    let postgres = Postgres {
        pool: pool(settings.connections, patience, options.clone()),
        news: listen::news(options, patience),
        patience,
        shown,
    };
    postgres.set_up().await?;
    Ok(postgres)
}

fn pool(most: u32, patience: Duration, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(patience)
        .test_before_acquire(false)
        .before_acquire(move |connection, used| {
            Box::pin(async move {
                if used.idle_for < STALE {
                    return Ok(true);
                }
                Ok(answers(connection, patience / 2).await)
            })
        })
        // One that hangs is never given back: it would be asked without an end.
        .after_release(move |connection, _| {
            Box::pin(async move {
                match answers(connection, patience / 2).await {
                    true => Ok(true),
                    false => Err(sqlx::Error::PoolTimedOut),
                }
            })
        })
        .connect_lazy_with(options)
}

async fn answers(connection: &mut PgConnection, patience: Duration) -> bool {
    matches!(timeout(patience, connection.ping()).await, Ok(Ok(())))
}

impl Postgres {
    pub(super) const STATEMENTS: Statements = statements!(now!(), CLAIM);

    /// Brings the tables up to date, under the advisory lock of sqlx's migrator: of several servers
    /// one does it.
    async fn set_up(&self) -> Result<(), StoreError> {
        let newest = steps::newest(schema::STEPS);
        let fault = |error: MigrateError| {
            StoreError::Postgres(PostgresError::of_migration(
                &self.shown,
                self.patience,
                newest,
                error,
            ))
        };
        let end = Instant::now() + self.patience;
        // Whatever the outcome, its end gives the lock back.
        let mut connection = self.connection(end).await?.detach();
        // Not `run`: of a future with its `Acquire` in it, the compiler makes no task.
        let migrator = steps::migrator(schema::STEPS);
        let run = migrator.run_direct(None, &mut connection, false);
        match timeout_at(end, run).await {
            Ok(run) => run.map_err(fault),
            Err(_) => Err(self.late()),
        }
    }

    /// A connection, as soon as there is one: nothing was asked yet, so that it can be tried again.
    async fn connection(&self, end: Instant) -> Result<PoolConnection<Database>, StoreError> {
        loop {
            let Ok(acquired) = timeout_at(end, self.pool.acquire()).await else {
                return Err(self.late());
            };
            let error = match acquired {
                Ok(connection) => return Ok(connection),
                Err(error) => PostgresError::of(&self.shown, self.patience, error),
            };
            if !error.is_outage() || Instant::now() + PAUSE >= end {
                return Err(StoreError::Postgres(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does something with a connection until then.
    async fn with<T>(
        &self,
        end: Instant,
        deed: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection(end).await?;
        let error = match timeout_at(end, deed(&mut connection)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error @ sqlx::Error::Database(_))) => return Err(self.fault(error)),
            Ok(Err(error)) => self.fault(error),
            Err(_) => self.late(),
        };
        // Closed without a word: words are what it does not take.
        drop(connection.detach());
        Err(error)
    }

    pub(super) async fn rows<T: Send + Unpin>(
        &self,
        access: Access,
        sql: &'static str,
        values: &[Value<'_>],
        read: Read<T>,
    ) -> Result<Vec<T>, StoreError> {
        let end = Instant::now() + self.patience;
        loop {
            let asked = self.with(end, async |connection| {
                let rows = bind(sql, values).try_map(|row: PgRow| read(&row));
                rows.fetch_all(connection).await
            });
            match asked.await {
                // A connection that had ended in the meantime. What may have changed something is not
                // done twice.
                Err(StoreError::Postgres(error))
                    if error.is_outage() && access == Access::Reads && Instant::now() < end => {}
                asked => return asked,
            }
        }
    }

    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let end = Instant::now() + self.patience;
        let done = self.with(end, async |connection| bind(sql, values).execute(connection).await);
        Ok(done.await?.rows_affected())
    }

    pub(super) async fn add(&self, changes: &UsageChanges) -> Result<(), StoreError> {
        self.with(Instant::now() + self.patience, async |connection| {
            let mut transaction = connection.begin().await?;
            let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(FLUSHES);
            lock.execute(&mut *transaction).await?;
            write(&mut transaction, changes).await?;
            let (first, last) = changes.kept();
            let minutes = [Value::Number(first), Value::Number(last)];
            bind(FORGET_MINUTES, &minutes).execute(&mut *transaction).await?;
            let arrivals = [Value::Number(first.saturating_mul(60_000_000))];
            bind(FORGET_ARRIVALS, &arrivals).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
    }

    pub(super) fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Closes the connections, when those in use are done or patience is over.
    pub(super) async fn close(&self) {
        self.news.close();
        if timeout(self.patience, self.pool.close()).await.is_err() {
            tracing::debug!(database = %self.shown, "a connection to the store was not closed");
        }
    }

    fn fault(&self, error: sqlx::Error) -> StoreError {
        StoreError::Postgres(PostgresError::of(&self.shown, self.patience, error))
    }

    fn late(&self) -> StoreError {
        let (database, waited) = (self.shown.to_string(), self.patience);
        StoreError::Postgres(PostgresError::Late { database, waited })
    }
}

/// Who comes too late neither locks the row nor writes: `ON CONFLICT DO UPDATE … WHERE` would do both.
const CLAIM: &str = concat!(
    "WITH taken AS (
        UPDATE session SET
            was = CASE stage WHEN 'starting' THEN was ELSE stage END,
            stage = 'starting',
            epoch = epoch + 1,
            holder = $3,
            lease_until = ",
    now!(),
    " + $4,
            attempts = CASE WHEN attempts > $6 THEN 0 ELSE attempts END,
            touched = ",
    now!(),
    " WHERE workspace = $1 AND name = $2 AND ",
    free!(now!(), "$5"),
    " RETURNING ",
    columns!(now!()),
    "), made AS (
        INSERT INTO session (workspace, name, stage, was, epoch, holder, lease_until, generation,
            cells, attempts, retry_at, touched)
        SELECT $1, $2, 'starting', 'off', 1, $3, ",
    now!(),
    " + $4, 0, 0, 0, 0, ",
    now!(),
    " WHERE NOT EXISTS (SELECT FROM session WHERE workspace = $1 AND name = $2)
        ON CONFLICT DO NOTHING RETURNING ",
    columns!(now!()),
    ") SELECT * FROM taken UNION ALL SELECT * FROM made"
);

/// Sums stop at the largest number, also those of one flush.
const ADD_MINUTES: &str = "INSERT INTO usage AS old (principal, minute, calls, tokens)
    SELECT principal, minute,
        LEAST(sum(calls), 9223372036854775807)::bigint,
        LEAST(sum(tokens), 9223372036854775807)::bigint
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS new (principal, minute, calls, tokens)
    GROUP BY principal, minute
    ON CONFLICT (principal, minute) DO UPDATE SET
        calls = LEAST(old.calls::numeric + excluded.calls, 9223372036854775807)::bigint,
        tokens = LEAST(old.tokens::numeric + excluded.tokens, 9223372036854775807)::bigint";

const ADD_TOTALS: &str = "INSERT INTO usage_total AS old
        (principal, tool, calls, tokens, faults, denied, joined, since, latest)
    SELECT principal, tool,
        LEAST(sum(calls), 9223372036854775807)::bigint,
        LEAST(sum(tokens), 9223372036854775807)::bigint,
        LEAST(sum(faults), 9223372036854775807)::bigint,
        LEAST(sum(denied), 9223372036854775807)::bigint,
        LEAST(sum(joined), 9223372036854775807)::bigint,
        min(since), $9
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::bigint[])
        AS new (principal, tool, calls, tokens, faults, denied, joined, since)
    GROUP BY principal, tool
    ON CONFLICT (principal, tool) DO UPDATE SET
        calls = LEAST(old.calls::numeric + excluded.calls, 9223372036854775807)::bigint,
        tokens = LEAST(old.tokens::numeric + excluded.tokens, 9223372036854775807)::bigint,
        faults = LEAST(old.faults::numeric + excluded.faults, 9223372036854775807)::bigint,
        denied = LEAST(old.denied::numeric + excluded.denied, 9223372036854775807)::bigint,
        joined = LEAST(old.joined::numeric + excluded.joined, 9223372036854775807)::bigint,
        since = LEAST(old.since, excluded.since),
        latest = GREATEST(old.latest, excluded.latest)";

const ADD_ARRIVALS: &str = "INSERT INTO arrival AS old (principal, micros)
    SELECT principal, max(micros) FROM unnest($1::text[], $2::bigint[]) AS new (principal, micros)
    GROUP BY principal
    ON CONFLICT (principal) DO UPDATE SET micros = GREATEST(old.micros, excluded.micros)";

fn bind<'v>(sql: &'static str, values: &[Value<'v>]) -> Query<'v, Database, PgArguments> {
    bound!(sql, values)
}

/// One statement a table, whatever the number of rows: the database may be far away.
async fn write(to: &mut PgConnection, changes: &UsageChanges) -> Result<(), sqlx::Error> {
    let UsageChanges { minutes, totals, arrivals, now } = changes;
    if !minutes.is_empty() {
        sqlx::query(ADD_MINUTES)
            .bind(texts(minutes, |row| &row.principal))
            .bind(numbers(minutes, |row| row.minute))
            .bind(numbers(minutes, |row| row.calls))
            .bind(numbers(minutes, |row| row.tokens))
            .execute(&mut *to)
            .await?;
    }
    if !totals.is_empty() {
        sqlx::query(ADD_TOTALS)
            .bind(texts(totals, |row| &row.principal))
            .bind(texts(totals, |row| &row.tool))
            .bind(numbers(totals, |row| row.calls))
            .bind(numbers(totals, |row| row.tokens))
            .bind(numbers(totals, |row| row.faults))
            .bind(numbers(totals, |row| row.denied))
            .bind(numbers(totals, |row| row.joined))
            .bind(numbers(totals, |row| row.since))
            .bind(signed(*now))
            .execute(&mut *to)
            .await?;
    }
    if !arrivals.is_empty() {
        sqlx::query(ADD_ARRIVALS)
            .bind(texts(arrivals, |row| &row.principal))
            .bind(numbers(arrivals, |row| row.micros))
            .execute(&mut *to)
            .await?;
    }
    Ok(())
}

fn texts<R>(rows: &[R], of: impl Fn(&R) -> &String) -> Vec<String> {
    rows.iter().map(|row| plain(of(row)).into_owned()).collect()
}

fn numbers<R>(rows: &[R], of: impl Fn(&R) -> u64) -> Vec<i64> {
    rows.iter().map(|row| signed(of(row))).collect()
}
