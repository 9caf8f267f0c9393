//! Who has which session, and where its kernel is: one row each, each change one guarded statement.
//!
//! A claim raises the row's epoch, and every later change names holder and epoch: one who was
//! overtaken changes nothing. Time is the database's own, so that processes with other clocks agree.
//! What a change means is not decided here: `sandbox` says what may follow what, and a test compares.

use super::{
    Store, StoreError,
    engine::{
        Access, Columns,
        Value::{self, Maybe, Number, Text},
    },
};

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

impl Store {
    /// Takes a session: its row with the new epoch, or the row as it is and may not be taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_session(
        &self,
        claim: SessionClaim<'_>,
    ) -> Result<Result<SessionRow, SessionRow>, StoreError> {
        let (workspace, name) = (Text(claim.workspace), Text(claim.name));
        let (statements, dead) = (self.0.statements(), Maybe(claim.dead));
        let (holder, lease) = (Text(claim.holder), Number(claim.lease));
        let retries = Number(claim.retries.into());
        loop {
            // Who only looks waits for nobody: a statement that writes would wait for all others.
            let read = |row: &dyn Columns| Ok((read(row)?, row.truth(15)?));
            let values = [workspace, name, dead];
            let seen = self.0.rows(Access::Reads, statements.look, &values, read);
            if let Some((row, false)) = seen.await?.pop() {
                return Ok(Err(row));
            }
            let values = [workspace, name, holder, lease, dead, retries];
            let claimed = self.0.rows(Access::Writes, statements.claim, &values, self::read);
            if let Some(row) = claimed.await?.pop() {
                return Ok(Ok(row));
            }
        }
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
        let known = self.0.statements();
        let (sql, more): (_, &[Value<'_>]) = match step {
            SessionStep::Placed(place) => (known.placed, &[Text(place)]),
            SessionStep::Ready(place, number) => (known.ready, &[Text(place), Number(number)]),
            SessionStep::CellBegan(number) => (known.cell_began, &[Number(number)]),
            SessionStep::CellEnded => (known.cell_ended, &[]),
            SessionStep::Failed(why, rest) => (known.failed, &[Text(why), Number(rest)]),
            SessionStep::Gone => (known.gone, &[]),
            SessionStep::StartBegan => (known.start_began, &[]),
            SessionStep::Left => (known.left, &[]),
            SessionStep::Off => (known.off, &[]),
        };
        let (workspace, name) = (Text(held.workspace), Text(held.name));
        let mut values = vec![workspace, name, Text(held.holder), Number(held.epoch)];
        values.extend(more);
        Ok(self.0.change(sql, &values).await? == 1)
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
        let values = [Text(holder), Number(lease)];
        self.0.rows(Access::Writes, self.0.statements().renew, &values, read).await
    }

    /// A session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session(
        &self,
        workspace: &str,
        name: &str,
    ) -> Result<Option<SessionRow>, StoreError> {
        let (look, values) = (self.0.statements().look, [Text(workspace), Text(name), Maybe(None)]);
        Ok(self.0.rows(Access::Reads, look, &values, read).await?.pop())
    }

    /// All sessions, the one that was changed last first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        self.0.rows(Access::Reads, self.0.statements().sessions, &[], read).await
    }

    /// Forgets sessions without a kernel that nothing has happened to for so many milliseconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_sessions(&self, age: u64) -> Result<u64, StoreError> {
        self.0.change(self.0.statements().forget, &[Number(age)]).await
    }
}

fn read(row: &dyn Columns) -> Result<SessionRow, sqlx::Error> {
    Ok(SessionRow {
        workspace: row.text(0)?,
        name: row.text(1)?,
        stage: row.text(2)?,
        was: row.text(3)?,
        epoch: row.number(4)?,
        holder: row.maybe(5)?,
        lease_until: row.number(6)?,
        generation: row.number(7)?,
        cells: row.number(8)?,
        place: row.maybe(9)?,
        error: row.maybe(10)?,
        attempts: u32::try_from(row.number(11)?).unwrap_or(u32::MAX),
        retry_at: row.number(12)?,
        touched: row.number(13)?,
        now: row.number(14)?,
    })
}
