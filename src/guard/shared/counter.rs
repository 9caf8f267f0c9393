//! What servers side by side ask of whoever counts, and remembers keys, for all of them. Knows no
//! database.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use crate::{
    base::canon::Digest,
    guard::{
        Signature, Who,
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

/// What happened since the last [`Counter::tell`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Tokens that calls have cost more (or less) than was asked for, by user and minute.
    pub settled: Vec<(Digest, u64, i64)>,
    /// Calls that are over.
    pub left: Vec<Place>,
    /// Calls that go on.
    pub held: Vec<Place>,
}

/// A call with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The user, the session and the key.
    pub digest: Digest,
    /// The tool and its arguments.
    pub call: Digest,
    /// The server that carries it out: words, `#`, and what no other server has.
    pub server: String,
}

impl Key {
    /// That of a call.
    #[must_use]
    pub fn of(who: &Who, key: &Digest, call: Signature, server: &str) -> Self {
        let scope = [who.principal.as_bytes(), who.session.as_bytes(), key.bytes().as_slice()];
        let parts = [call.tool.as_bytes(), call.arguments.bytes().as_slice()];
        Self {
            digest: Digest::of_parts(scope),
            call: Digest::of_parts(parts),
            server: server.to_owned(),
        }
    }

    /// What is known of it, from what was kept: the call that has it, its server, what was answered.
    #[must_use]
    pub fn known(
        &self,
        call: Option<String>,
        server: Option<String>,
        answer: Option<String>,
    ) -> Known {
        let server = server.unwrap_or_default();
        match (call, answer) {
            (None, _) => Known::New,
            (Some(call), _) if call != self.call.hex() => Known::Reused,
            (Some(_), Some(answer)) => Known::Over { server, answer },
            // This server knows by itself how far it has come.
            (Some(_), None) if server == self.server => Known::New,
            (Some(_), None) => Known::Begun { server },
        }
    }
}

/// What is known of a key. Servers are told as [`Key::server`] has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Known {
    /// Nothing; from now on it is this call's.
    New,
    /// A call with other arguments has it.
    Reused,
    /// That server has begun the call, and has not told its end.
    Begun {
        /// Where.
        server: String,
    },
    /// The call is over.
    Over {
        /// Where it was carried out.
        server: String,
        /// What was answered.
        answer: String,
    },
}

/// The end of a call with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was carried out; what was answered, and for how long that is remembered.
    Over(String, Duration),
    /// It has never begun: it can be sent again.
    NeverBegan,
}

/// Counts for all servers, in one step that nothing comes between, by one clock for all.
pub trait Counter: Send + Sync + fmt::Debug {
    /// Counts a call if every limit leaves room.
    fn take<'a>(&'a self, ask: Ask<'a>) -> Asking<'a, Verdict>;
    /// Enters what happened; the places of calls that go on are held for [`LEASE`] from now.
    fn tell<'a>(&'a self, news: &'a News) -> Asking<'a, ()>;
    /// How a user stands.
    fn look(&self, user: Digest) -> Asking<'_, Seen>;
    /// Takes a key for a call, unless one has it; it is remembered for [`UNTOLD`].
    fn claim<'a>(&'a self, key: &'a Key) -> Asking<'a, Known>;
    /// The call that has the key is over. Told twice, it changes nothing.
    fn close<'a>(&'a self, key: &'a Key, end: &'a End) -> Asking<'a, ()>;
}

/// How long the place of a call is held that nobody speaks of any more: its server was killed.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long a key is remembered of whose call nobody has told the end: longer than a cell may run.
pub const UNTOLD: Duration = Duration::from_secs(2 * 86_400);
