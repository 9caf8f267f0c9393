//! How much was called: by minute for the last hour, in total by tool, and what the limiter
//! remembers of each principal.
//!
//! Numbers have 64 bits and a sign in the store, and stop at the largest of them.

use super::{
    Store, StoreError,
    engine::{Access, Value::Number},
    statements::{ARRIVALS, TOTALS, USAGE_SINCE},
};

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

    /// The first and the last minute that are kept. An hour's grace for arrivals as well: clocks are
    /// set back at times.
    pub(super) fn kept(&self) -> (u64, u64) {
        (self.now.saturating_sub(MINUTES), self.now.saturating_add(MINUTES))
    }
}

impl Store {
    /// Writes everything of one flush in one transaction, or nothing of it. Where there is nothing
    /// to write, the store is not touched.
    ///
    /// # Errors
    /// [`StoreError`]; the changes are then not in the store, and can be added again.
    pub async fn add(&self, changes: &UsageChanges) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.0.add(changes).await
    }

    /// What was called in a minute (since 1970) and after it, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub async fn usage_since(&self, minute: u64) -> Result<Vec<UsageRow>, StoreError> {
        let values = [Number(minute), Number(u64::from(MOST_PRINCIPALS) * MINUTES)];
        let rows = self.0.rows(Access::Reads, USAGE_SINCE, &values, |row| {
            Ok(UsageRow {
                principal: row.text(0)?,
                minute: row.number(1)?,
                calls: row.number(2)?,
                tokens: row.number(3)?,
            })
        });
        rows.await
    }

    /// The totals by principal and tool, of the [`MOST_PRINCIPALS`] that called last, the newest
    /// first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub async fn totals(&self) -> Result<Vec<TotalRow>, StoreError> {
        let values = [Number(MOST_PRINCIPALS.into())];
        let rows = self.0.rows(Access::Reads, TOTALS, &values, |row| {
            Ok(TotalRow {
                principal: row.text(0)?,
                tool: row.text(1)?,
                calls: row.number(2)?,
                tokens: row.number(3)?,
                faults: row.number(4)?,
                denied: row.number(5)?,
                joined: row.number(6)?,
                since: row.number(7)?,
            })
        });
        rows.await
    }

    /// What the limiter remembers, at most of [`MOST_PRINCIPALS`], the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub async fn arrivals(&self) -> Result<Vec<Arrival>, StoreError> {
        let values = [Number(MOST_PRINCIPALS.into())];
        let rows = self.0.rows(Access::Reads, ARRIVALS, &values, |row| {
            Ok(Arrival { principal: row.text(0)?, micros: row.number(1)? })
        });
        rows.await
    }
}
