//! What servers count together in a PostgreSQL database; a file of one machine counts for nobody.
//!
//! The words are the database's own functions' (`postgres/shared.sql`), each of which nothing comes
//! between.

use super::{
    Store, StoreError,
    engine::{
        Access,
        Value::{Maybe, Number, Text},
    },
};

/// What a call wants of all servers' limits; 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// The user, as all servers know the user.
    pub user: &'a str,
    /// The user's session.
    pub session: &'a str,
    /// The call.
    pub call: &'a str,
    /// Whether it costs nothing but a place.
    pub free: bool,
    /// What it costs.
    pub tokens: u64,
    /// Requests a minute, of the user and of all.
    pub requests: [u64; 2],
    /// Tokens an hour, of the user and of all.
    pub hourly: [u64; 2],
    /// Calls at once, of the session and of all.
    pub at_once: [u64; 2],
    /// Milliseconds for which its place is held.
    pub lease: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Which limit is reached: 0 none, 1 and 2 calls at once, 3 and 4 requests, 5 and 6 tokens, of the
    /// session or user and of all.
    pub reached: u64,
    /// How much of it is used.
    pub used: u64,
    /// Microseconds until it frees; none where that does not depend on time.
    pub wait: Option<u64>,
    /// Minutes since 1970.
    pub minute: u64,
}

/// What is kept of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The call that has it.
    pub call: String,
    /// Its server.
    pub server: String,
    /// What was answered.
    pub answer: Option<String>,
}

const TAKE: &str = "SELECT reached, used, wait, minute
    FROM shared_take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
const TELL: &str = "SELECT shared_tell($1::jsonb, $2, $3)::text";
const LOOK: &str = "SELECT
        COALESCE((SELECT GREATEST(arrival - shared_micros(), 0) FROM shared_pace WHERE who = $1), 0),
        COALESCE(sum(calls), 0)::bigint, GREATEST(COALESCE(sum(tokens), 0), 0)::bigint
    FROM shared_hour WHERE who = $1 AND minute > shared_micros() / 60000000 - 60";
const CLAIM: &str =
    "SELECT known_call, known_server, known_answer FROM shared_claim($1, $2, $3, $4)";
const CLOSE: &str = "SELECT shared_close($1, $2, $3, $4, $5)::text";

impl Store {
    /// Counts a call if every limit leaves room.
    ///
    /// # Errors
    /// [`StoreError`]; it may be counted all the same.
    pub async fn shared_take(&self, take: Take<'_>) -> Result<Option<Taken>, StoreError> {
        let values = [
            Text(take.user),
            Text(take.session),
            Text(take.call),
            Number(take.free.into()),
            Number(take.tokens),
            Number(take.requests[0]),
            Number(take.requests[1]),
            Number(take.hourly[0]),
            Number(take.hourly[1]),
            Number(take.at_once[0]),
            Number(take.at_once[1]),
            Number(take.lease),
        ];
        let rows = self.0.rows(Access::Writes, TAKE, &values, |row| {
            Ok(Taken {
                reached: row.number(0)?,
                used: row.number(1)?,
                wait: u64::try_from(row.signed(2)?).ok(),
                minute: row.number(3)?,
            })
        });
        Ok(rows.await?.into_iter().next())
    }

    /// Enters what became of calls, as JSON: `{"settled": [[user, minute, tokens]], "left": [call],
    /// "held": [[call, session]]}`.
    ///
    /// # Errors
    /// [`StoreError`]; it may be entered all the same.
    pub async fn shared_tell(
        &self,
        news: &str,
        counts_all: bool,
        lease: u64,
    ) -> Result<(), StoreError> {
        let values = [Text(news), Number(counts_all.into()), Number(lease)];
        self.0.change(TELL, &values).await.map(|_| ())
    }

    /// Microseconds until a user's requests have caught up; calls and tokens of the hour.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shared_look(&self, user: &str) -> Result<(u64, u64, u64), StoreError> {
        let values = [Text(user)];
        let rows = self.0.rows(Access::Reads, LOOK, &values, |row| {
            Ok((row.number(0)?, row.number(1)?, row.number(2)?))
        });
        Ok(rows.await?.into_iter().next().unwrap_or_default())
    }

    /// Takes an idempotency key for a call, unless one has it; what is kept of it then.
    ///
    /// # Errors
    /// [`StoreError`]; it may be taken all the same.
    pub async fn shared_claim(
        &self,
        key: &str,
        call: &str,
        server: &str,
        milliseconds: u64,
    ) -> Result<Option<KeyRow>, StoreError> {
        let values = [Text(key), Text(call), Text(server), Number(milliseconds)];
        let rows = self.0.rows(Access::Writes, CLAIM, &values, |row| {
            Ok(KeyRow { call: row.text(0)?, server: row.text(1)?, answer: row.maybe(2)? })
        });
        Ok(rows.await?.into_iter().next())
    }

    /// The call that has the key is over: with that answer, or it has never begun.
    ///
    /// # Errors
    /// [`StoreError`]; told twice, it changes nothing.
    pub async fn shared_close(
        &self,
        (key, call, server): (&str, &str, &str),
        answer: Option<&str>,
        milliseconds: u64,
    ) -> Result<(), StoreError> {
        let values = [Text(key), Text(call), Text(server), Maybe(answer), Number(milliseconds)];
        self.0.change(CLOSE, &values).await.map(|_| ())
    }
}
