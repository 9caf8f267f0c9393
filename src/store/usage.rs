//! How much was called: by minute for the last hour, in total by tool, and what the limiter
//! remembers of each principal.
//!
//! Numbers are kept as SQLite's (64 bits with a sign), and stop at the largest of them.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError, number, signed};

/// Minutes that are kept.
const MINUTES: u64 = 60;

/// Most principals that are read back: who was not seen for longest is left out.
pub const MOST_PRINCIPALS: u32 = 10_000;

/// What a principal called in a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Who.
    pub principal: String,
    /// Minutes since 1970.
    pub minute: u64,
    /// Calls.
    pub calls: u64,
    /// Estimated tokens.
    pub tokens: u64,
}

/// What a principal called of a tool, ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalRow {
    /// Who.
    pub principal: String,
    /// The tool's name.
    pub tool: String,
    /// Calls.
    pub calls: u64,
    /// Estimated tokens.
    pub tokens: u64,
    /// Calls that ended in a fault of husk or the kernel.
    pub faults: u64,
    /// Calls that a guard refused.
    pub denied: u64,
    /// Calls that were told of an execution which another call had begun.
    pub joined: u64,
    /// The minute since 1970 of the first call. Of two that are added, the earlier one stays.
    pub since: u64,
}

/// When the limiter will have forgotten what a principal has used (the arrival time of GCRA).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Who.
    pub principal: String,
    /// Microseconds since 1970. Of two that are added, the later one stays.
    pub micros: u64,
}

/// What happened since the last flush: numbers are added to those in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageChanges {
    /// The minute since 1970 that it is now: rows more than an hour away from it are forgotten.
    pub now: u64,
    /// By minute.
    pub minutes: Vec<UsageRow>,
    /// By tool.
    pub totals: Vec<TotalRow>,
    /// Of the limiter.
    pub arrivals: Vec<Arrival>,
}

impl UsageChanges {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.minutes.is_empty() && self.totals.is_empty() && self.arrivals.is_empty()
    }
}

/// Sums end at the largest integer: without `min`, SQLite would go on with a fraction.
const ADD_MINUTE: &str =
    "INSERT INTO usage (principal, minute, calls, tokens) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (principal, minute) DO UPDATE SET
        calls = min(calls + excluded.calls, 9223372036854775807),
        tokens = min(tokens + excluded.tokens, 9223372036854775807)";

const ADD_TOTAL: &str = "INSERT INTO usage_total
        (principal, tool, calls, tokens, faults, denied, joined, since, latest)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (principal, tool) DO UPDATE SET
        calls = min(calls + excluded.calls, 9223372036854775807),
        tokens = min(tokens + excluded.tokens, 9223372036854775807),
        faults = min(faults + excluded.faults, 9223372036854775807),
        denied = min(denied + excluded.denied, 9223372036854775807),
        joined = min(joined + excluded.joined, 9223372036854775807),
        since = min(since, excluded.since),
        latest = max(latest, excluded.latest)";

const ADD_ARRIVAL: &str = "INSERT INTO arrival (principal, micros) VALUES (?1, ?2)
    ON CONFLICT (principal) DO UPDATE SET micros = max(micros, excluded.micros)";

/// Also rows that a wrong clock has put far ahead.
const FORGET_MINUTES: &str = "DELETE FROM usage WHERE minute < ?1 OR minute > ?2";

/// An arrival time that has passed says nothing any more.
const FORGET_ARRIVALS: &str = "DELETE FROM arrival WHERE micros < ?1";

const TOTALS: &str = "SELECT principal, tool, calls, tokens, faults, denied, joined, since
    FROM usage_total
    WHERE principal IN (
        SELECT principal FROM usage_total GROUP BY principal ORDER BY max(latest) DESC LIMIT ?1)
    ORDER BY latest DESC, principal, tool";

impl Store {
    /// Writes everything of one flush in one transaction, or nothing of it. Where there is nothing
    /// to write, the file is not touched.
    ///
    /// # Errors
    /// [`StoreError`]; the changes are then not in the store, and can be added again.
    pub async fn add(&self, changes: &UsageChanges) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.flush(changes).await.map_err(|error| self.fault(error))
    }

    async fn flush(&self, changes: &UsageChanges) -> Result<(), sqlx::Error> {
        // The lock is taken first: a transaction that had read before could not wait for others.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        write(&mut transaction, changes).await?;
        forget(&mut transaction, changes.now).await?;
        transaction.commit().await
    }

    /// What was called in a minute (since 1970) and after it, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn usage_since(&self, minute: u64) -> Result<Vec<UsageRow>, StoreError> {
        // Whatever the file holds, what comes of it fits into memory.
        sqlx::query(
            "SELECT principal, minute, calls, tokens FROM (
                SELECT * FROM usage WHERE minute >= ?1 ORDER BY minute DESC, principal LIMIT ?2)
            ORDER BY minute, principal",
        )
        .bind(signed(minute))
        .bind(signed(u64::from(MOST_PRINCIPALS) * MINUTES))
        .try_map(|row: SqliteRow| {
            Ok(UsageRow {
                principal: row.try_get(0)?,
                minute: number(&row, 1)?,
                calls: number(&row, 2)?,
                tokens: number(&row, 3)?,
            })
        })
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.fault(error))
    }

    /// The totals by principal and tool, of the [`MOST_PRINCIPALS`] that called last, the newest
    /// first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn totals(&self) -> Result<Vec<TotalRow>, StoreError> {
        sqlx::query(TOTALS)
            .bind(MOST_PRINCIPALS)
            .try_map(|row: SqliteRow| {
                Ok(TotalRow {
                    principal: row.try_get(0)?,
                    tool: row.try_get(1)?,
                    calls: number(&row, 2)?,
                    tokens: number(&row, 3)?,
                    faults: number(&row, 4)?,
                    denied: number(&row, 5)?,
                    joined: number(&row, 6)?,
                    since: number(&row, 7)?,
                })
            })
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(error))
    }

    /// What the limiter remembers, at most of [`MOST_PRINCIPALS`], the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn arrivals(&self) -> Result<Vec<Arrival>, StoreError> {
        sqlx::query(
            "SELECT principal, micros FROM arrival ORDER BY micros DESC, principal LIMIT ?1",
        )
        .bind(MOST_PRINCIPALS)
        .try_map(|row: SqliteRow| {
            Ok(Arrival { principal: row.try_get(0)?, micros: number(&row, 1)? })
        })
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.fault(error))
    }
}

async fn write(to: &mut SqliteConnection, changes: &UsageChanges) -> Result<(), sqlx::Error> {
    for row in &changes.minutes {
        sqlx::query(ADD_MINUTE)
            .bind(&row.principal)
            .bind(signed(row.minute))
            .bind(signed(row.calls))
            .bind(signed(row.tokens))
            .execute(&mut *to)
            .await?;
    }
    for row in &changes.totals {
        sqlx::query(ADD_TOTAL)
            .bind(&row.principal)
            .bind(&row.tool)
            .bind(signed(row.calls))
            .bind(signed(row.tokens))
            .bind(signed(row.faults))
            .bind(signed(row.denied))
            .bind(signed(row.joined))
            .bind(signed(row.since))
            .bind(signed(changes.now))
            .execute(&mut *to)
            .await?;
    }
    for row in &changes.arrivals {
        sqlx::query(ADD_ARRIVAL)
            .bind(&row.principal)
            .bind(signed(row.micros))
            .execute(&mut *to)
            .await?;
    }
    Ok(())
}

async fn forget(from: &mut SqliteConnection, now: u64) -> Result<(), sqlx::Error> {
    let (first, last) = (now.saturating_sub(MINUTES), now.saturating_add(MINUTES));
    sqlx::query(FORGET_MINUTES).bind(signed(first)).bind(signed(last)).execute(&mut *from).await?;
    // An hour's grace, as for the minutes: clocks are set back at times.
    sqlx::query(FORGET_ARRIVALS)
        .bind(signed(first.saturating_mul(60_000_000)))
        .execute(&mut *from)
        .await?;
    Ok(())
}
