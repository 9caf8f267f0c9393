//! Who has which session, and where its kernel is: one row each, each change one guarded statement.
//!
//! A claim raises the row's epoch, and every later change names holder and epoch: one who was
//! overtaken changes nothing. Time is the database's own, so that processes with other clocks agree.
//! What a change means is not decided here: `sandbox` says what may follow what, and a test compares.

use sqlx::{Row, sqlite::SqliteRow};

use super::{Store, StoreError, signed};

/// A session as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionRow {
    /// Where its kernel works.
    pub workspace: String,
    /// Its name there.
    pub name: String,
    /// Where it is, as one word.
    pub stage: String,
    /// Where it was before it was claimed.
    pub was: String,
    /// How often it was claimed.
    pub epoch: u64,
    /// Who has it.
    pub holder: Option<String>,
    /// Until when, in milliseconds since 1970.
    pub lease_until: u64,
    /// How many kernels it has had.
    pub generation: u64,
    /// Number of the last cell of its kernel.
    pub cells: u64,
    /// Where its kernel is.
    pub place: Option<String>,
    /// Why the last start failed.
    pub error: Option<String>,
    /// How many starts have failed one after the other.
    pub attempts: u32,
    /// Until when it is not tried again, in milliseconds since 1970.
    pub retry_at: u64,
    /// When it was changed last, in milliseconds since 1970.
    pub touched: u64,
    /// The database's clock when this was read.
    pub now: u64,
}

/// Who claims a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionClaim<'a> {
    /// Where its kernel works.
    pub workspace: &'a str,
    /// Its name there.
    pub name: &'a str,
    /// Who.
    pub holder: &'a str,
    /// For how many milliseconds.
    pub lease: u64,
    /// A holder that is known to have died.
    pub dead: Option<&'a str>,
    /// After how many failed starts the count begins anew.
    pub retries: u32,
}

/// The claim under which a change is made.
#[derive(Debug, Clone, Copy)]
pub struct SessionHeld<'a> {
    /// Where its kernel works.
    pub workspace: &'a str,
    /// Its name there.
    pub name: &'a str,
    /// Who has it.
    pub holder: &'a str,
    /// The epoch of the claim.
    pub epoch: u64,
}

/// A change.
#[derive(Debug, Clone, Copy)]
pub enum SessionStep<'a> {
    /// Where the kernel will be.
    Placed(&'a str),
    /// It answers: where it is, and which one of the session it is.
    Ready(&'a str, u64),
    /// A cell of that number has begun.
    CellBegan(u64),
    /// It is over.
    CellEnded,
    /// The start has failed: why, and for how many milliseconds it is not tried again.
    Failed(&'a str, u64),
    /// The kernel is gone.
    Gone,
    /// Another start begins.
    StartBegan,
    /// The holder leaves its kernel running.
    Left,
    /// The holder goes, and so does its kernel.
    Off,
}

macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

macro_rules! columns {
    () => {
        concat!(
            "workspace, name, stage, was, epoch, holder, lease_until, generation, cells, place, error,
            attempts, retry_at, touched, ",
            now!()
        )
    };
}

/// Whether a row may be claimed; `?5` is a holder that has died.
macro_rules! free {
    () => {
        concat!(
            "((holder IS NULL AND (stage <> 'error' OR retry_at <= ",
            now!(),
            ")) OR (holder IS NOT NULL AND (lease_until < ",
            now!(),
            " OR holder = ?5)))"
        )
    };
}

const LOOK: &str = concat!(
    "SELECT ",
    columns!(),
    ", ",
    free!(),
    " FROM session WHERE workspace = ?1 AND name = ?2"
);

const CLAIM: &str = concat!(
    "INSERT INTO session (workspace, name, stage, was, epoch, holder, lease_until, generation, cells,
        attempts, retry_at, touched)
    VALUES (?1, ?2, 'starting', 'off', 1, ?3, ",
    now!(),
    " + ?4, 0, 0, 0, 0, ",
    now!(),
    ") ON CONFLICT (workspace, name) DO UPDATE SET
        was = CASE stage WHEN 'starting' THEN was ELSE stage END,
        stage = 'starting',
        epoch = epoch + 1,
        holder = excluded.holder,
        lease_until = excluded.lease_until,
        attempts = CASE WHEN attempts > ?6 THEN 0 ELSE attempts END,
        touched = excluded.touched
    WHERE ",
    free!(),
    " RETURNING ",
    columns!()
);

/// A change by who holds the row, from some of the stages; `?5` and `?6` are its values.
macro_rules! step {
    ($set:literal, $from:literal) => {
        concat!(
            "UPDATE session SET ",
            $set,
            ", touched = ",
            now!(),
            " WHERE workspace = ?1 AND name = ?2 AND holder = ?3 AND epoch = ?4 AND stage IN (",
            $from,
            ")"
        )
    };
}

const PLACED: &str = step!("place = ?5", "'starting'");
const READY: &str = step!(
    "stage = 'idle', place = ?5, cells = CASE generation WHEN ?6 THEN cells ELSE 0 END,
        generation = ?6, error = NULL, attempts = 0, retry_at = 0",
    "'starting'"
);
const CELL_BEGAN: &str = step!("stage = 'busy', cells = ?5", "'idle'");
const CELL_ENDED: &str = step!("stage = 'idle'", "'busy'");
const FAILED: &str = concat!(
    "UPDATE session SET stage = 'error', error = ?5, place = NULL, holder = NULL,
        attempts = attempts + 1, retry_at = ",
    now!(),
    " + ?6, touched = ",
    now!(),
    " WHERE workspace = ?1 AND name = ?2 AND holder = ?3 AND epoch = ?4 AND stage = 'starting'"
);
const GONE: &str =
    step!("stage = 'off', place = NULL", "'off', 'starting', 'idle', 'busy', 'error'");
const START_BEGAN: &str = step!("stage = 'starting'", "'off'");
const LEFT: &str = step!("holder = NULL", "'idle', 'busy'");
const OFF: &str = step!(
    "stage = 'off', place = NULL, holder = NULL",
    "'off', 'starting', 'idle', 'busy', 'error'"
);

const RENEW: &str = concat!(
    "UPDATE session SET lease_until = ",
    now!(),
    " + ?2 WHERE holder = ?1 RETURNING ",
    columns!()
);

const ALL: &str = concat!("SELECT ", columns!(), " FROM session ORDER BY touched DESC");

/// Rows of sessions that have nothing left but their numbers.
const FORGET: &str = concat!(
    "DELETE FROM session WHERE holder IS NULL AND stage IN ('off', 'error') AND touched < ",
    now!(),
    " - ?1"
);

impl Store {
    /// Takes a session: its row with the new epoch, or the row as it is and may not be taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_session(
        &self,
        claim: SessionClaim<'_>,
    ) -> Result<Result<SessionRow, SessionRow>, StoreError> {
        loop {
            // Who only looks waits for nobody: a statement that writes would wait for all others.
            if let Some((row, false)) = self.look(claim).await? {
                return Ok(Err(row));
            }
            let claimed = sqlx::query(CLAIM)
                .bind(claim.workspace)
                .bind(claim.name)
                .bind(claim.holder)
                .bind(signed(claim.lease))
                .bind(claim.dead)
                .bind(claim.retries)
                .try_map(|row: SqliteRow| read(&row))
                .fetch_optional(&self.writer)
                .await
                .map_err(|error| self.fault(error))?;
            if let Some(row) = claimed {
                return Ok(Ok(row));
            }
        }
    }

    /// The row, and whether it may be claimed.
    async fn look(
        &self,
        claim: SessionClaim<'_>,
    ) -> Result<Option<(SessionRow, bool)>, StoreError> {
        sqlx::query(LOOK)
            .bind(claim.workspace)
            .bind(claim.name)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(claim.dead)
            .try_map(|row: SqliteRow| Ok((read(&row)?, row.try_get(15)?)))
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.fault(error))
    }

    /// Makes a change under a claim; false when the claim does not hold, or that cannot follow.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn step_session(
        &self,
        held: SessionHeld<'_>,
        step: SessionStep<'_>,
    ) -> Result<bool, StoreError> {
        let (sql, text, number) = match step {
            SessionStep::Placed(place) => (PLACED, Some(place), None),
            SessionStep::Ready(place, generation) => (READY, Some(place), Some(generation)),
            SessionStep::CellBegan(number) => (CELL_BEGAN, None, Some(number)),
            SessionStep::CellEnded => (CELL_ENDED, None, None),
            SessionStep::Failed(why, rest) => (FAILED, Some(why), Some(rest)),
            SessionStep::Gone => (GONE, None, None),
            SessionStep::StartBegan => (START_BEGAN, None, None),
            SessionStep::Left => (LEFT, None, None),
            SessionStep::Off => (OFF, None, None),
        };
        let mut query = sqlx::query(sql)
            .bind(held.workspace)
            .bind(held.name)
            .bind(held.holder)
            .bind(signed(held.epoch));
        if let Some(text) = text {
            query = query.bind(text);
        }
        if let Some(number) = number {
            query = query.bind(signed(number));
        }
        let done = query.execute(&self.writer).await.map_err(|error| self.fault(error))?;
        Ok(done.rows_affected() == 1)
    }

    /// Holds all that this holder has for so many milliseconds more; what it has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_sessions(
        &self,
        holder: &str,
        lease: u64,
    ) -> Result<Vec<SessionRow>, StoreError> {
        sqlx::query(RENEW)
            .bind(holder)
            .bind(signed(lease))
            .try_map(|row: SqliteRow| read(&row))
            .fetch_all(&self.writer)
            .await
            .map_err(|error| self.fault(error))
    }

    /// All sessions, the one that was changed last first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        sqlx::query(ALL)
            .try_map(|row: SqliteRow| read(&row))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(error))
    }

    /// Forgets sessions without a kernel that nothing has happened to for so many milliseconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_sessions(&self, age: u64) -> Result<u64, StoreError> {
        let done = sqlx::query(FORGET).bind(signed(age)).execute(&self.writer).await;
        Ok(done.map_err(|error| self.fault(error))?.rows_affected())
    }
}

fn read(row: &SqliteRow) -> Result<SessionRow, sqlx::Error> {
    let number = |column: usize| super::number(row, column);
    Ok(SessionRow {
        workspace: row.try_get(0)?,
        name: row.try_get(1)?,
        stage: row.try_get(2)?,
        was: row.try_get(3)?,
        epoch: number(4)?,
        holder: row.try_get(5)?,
        lease_until: number(6)?,
        generation: number(7)?,
        cells: number(8)?,
        place: row.try_get(9)?,
        error: row.try_get(10)?,
        attempts: u32::try_from(number(11)?).unwrap_or(u32::MAX),
        retry_at: number(12)?,
        touched: number(13)?,
        now: number(14)?,
    })
}
