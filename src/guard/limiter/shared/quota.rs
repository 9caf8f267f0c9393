//! What servers side by side ask of whoever counts for all of them. Knows no database.

use std::{fmt, future::Future, pin::Pin};

use crate::{
    base::canon::Digest,
    guard::{
        Who,
        limiter::{Over, Settings},
    },
};

/// Something asked of a database.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unreachable>> + Send + 'a>>;

/// Nobody counts for all servers at the moment; what to say of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Whose place it is among the calls under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The user.
    pub user: Digest,
    /// The user's session.
    pub session: Digest,
    /// The call.
    pub call: u128,
}

impl Place {
    /// That of a call. Names are hashed: a name may hold anything, and be of any length.
    #[must_use]
    pub fn of(who: &Who, call: u128) -> Self {
        let user = user(&who.principal);
        let parts = [who.principal.as_bytes(), who.session.as_bytes()];
        Self { user, session: Digest::of_parts(parts), call }
    }
}

/// A user as databases know them.
#[must_use]
pub fn user(principal: &str) -> Digest {
    Digest::of_bytes(principal.as_bytes())
}

/// What a call wants of all servers' limits.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// For whom.
    pub place: Place,
    /// Tokens that it will surely cost.
    pub tokens: u64,
    /// Whether it costs nothing but its place.
    pub free: bool,
    /// The limits; those of one session's budget are not asked about.
    pub limits: &'a Settings,
}

/// What all servers together have let through for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Microseconds until the user's requests have caught up with the even pace.
    pub ahead: i64,
    /// Calls of this hour.
    pub hour_calls: u64,
    /// Tokens of this hour.
    pub hour_tokens: u64,
}

/// What became of an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is counted, in that minute since 1970 by the database's clock.
    Taken(u64),
    /// It would be too much, and is not counted.
    Over(Over),
}

/// What happened since the last [`Quota::tell`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Tokens that calls have cost more (or less) than was asked for, by user and minute.
    pub settled: Vec<(Digest, u64, i64)>,
    /// Calls that are over.
    pub left: Vec<Place>,
    /// Calls that go on.
    pub held: Vec<Place>,
}

/// Counts for all servers, in one step that nothing comes between, by one clock for all.
pub trait Quota: Send + Sync + fmt::Debug {
    /// Counts a call if every limit leaves room.
    fn take<'a>(&'a self, ask: Ask<'a>) -> Asking<'a, Verdict>;
    /// Enters what happened; the places of calls that go on are held for [`LEASE`] from now.
    fn tell<'a>(&'a self, news: &'a News) -> Asking<'a, ()>;
    /// How a user stands.
    fn look(&self, user: Digest) -> Asking<'_, Seen>;
}

/// How long the place of a call is held that nobody speaks of any more: its server was killed.
pub const LEASE: std::time::Duration = std::time::Duration::from_secs(30);
