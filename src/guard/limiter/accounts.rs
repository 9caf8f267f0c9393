//! Who has used how much, and whether a call may use more: the accounts behind the limiter.
//!
//! All limits are looked at before any is charged, so that a denial costs nothing. What is taken is
//! held by a [`Reservation`]; one that is dropped without being settled gives back what it can.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;

use super::{
    changes::Changes,
    over::{Limit, Over},
    pace::Pace,
    reservation::{Charged, Reservation},
    settings::{Budget, Settings},
};
use crate::guard::{MOST_PRINCIPALS, MOST_SESSIONS, Who, window::Window};

/// One caller, or all together.
#[derive(Debug, Clone, Default)]
struct Account {
    pace: Pace,
    hour: Window,
}

/// What the calls of one session have used.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    cells: u64,
    tokens: u64,
}

/// What one caller has used of the hour, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests that may come at once; none where there is no limit.
    pub requests_left: Option<u32>,
    /// Calls of this hour.
    pub hour_calls: u64,
    /// Tokens of this hour.
    pub hour_tokens: u64,
    /// Tokens left; none where there is no limit.
    pub tokens_left: Option<u64>,
}

#[derive(Debug)]
struct State {
    accounts: LruCache<Arc<str>, Account>,
    total: Account,
    sessions: LruCache<Who, Session>,
    running: HashMap<Who, usize>,
    running_total: usize,
    /// Only where somebody collects them.
    changes: Option<Changes>,
}

/// The accounts. The lock is held for one decision.
#[derive(Debug)]
pub struct Accounts {
    settings: Settings,
    /// Those of the limits that are minded here; the others are minded elsewhere.
    minded: Settings,
    /// Microseconds since 1970 at `start`: a clock that runs evenly from there.
    since_1970: i64,
    start: Instant,
    state: Mutex<State>,
}

/// What a call wants to use.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Tokens that it will surely cost.
    pub tokens: u64,
    /// Whether it begins a cell.
    pub cell: bool,
    /// How long the cells of its session have run.
    pub ran: Duration,
    /// Whether it may be refused.
    pub refusable: bool,
    /// Whether it costs nothing but a place among those at the same time.
    pub free: bool,
}

/// A cache of a given size takes all its room at once: this one grows.
fn bounded<K: Hash + Eq, V>(most: usize) -> LruCache<K, V> {
    let mut cache = LruCache::unbounded();
    cache.resize(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
    cache
}

impl Accounts {
    /// Nothing used yet; `since_1970` microseconds have passed since 1970 at `now`.
    #[must_use]
    pub fn new(settings: Settings, since_1970: i64, now: Instant) -> Self {
        let minded = settings.clone();
        Self::minding(minded, settings, since_1970, now)
    }

    /// The same where only these of the limits are minded here.
    #[must_use]
    pub(in crate::guard) fn minding(
        minded: Settings,
        settings: Settings,
        since_1970: i64,
        now: Instant,
    ) -> Self {
        let state = State {
            accounts: bounded(MOST_PRINCIPALS),
            total: Account::default(),
            sessions: bounded(MOST_SESSIONS),
            running: HashMap::new(),
            running_total: 0,
            changes: None,
        };
        Self { settings, minded, since_1970, start: now, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.start).as_micros();
        self.since_1970.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// The minute since 1970.
    #[must_use]
    pub fn minute(&self, now: Instant) -> u32 {
        minute(self.micros(now))
    }

    /// The limits.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes what a call wants.
    ///
    /// # Errors
    /// [`Over`]: the limit that would be exceeded; nothing is taken then.
    pub fn take(
        self: &Arc<Self>,
        who: &Who,
        wanted: Wanted,
        now: Instant,
    ) -> Result<Reservation, Over> {
        let (micros, minute) = (self.micros(now), self.minute(now));
        let mut state = self.lock();
        if wanted.refusable {
            self.check(&state, who, wanted, micros)?;
        }
        let charged =
            (!wanted.free).then_some(Charged { minute, tokens: wanted.tokens, cell: wanted.cell });
        if let Some(charged) = charged {
            state.charge(who, charged, &self.minded, micros);
        }
        *state.running.entry(who.clone()).or_default() += 1;
        state.running_total += 1;
        Ok(Reservation { accounts: Arc::clone(self), who: who.clone(), charged, lease: None })
    }

    /// Settles what a call has cost in truth.
    pub(super) fn settle(&self, who: &Who, charged: Charged, tokens: u64, no_cell: bool) {
        let more = signed(tokens).saturating_sub(signed(charged.tokens));
        let mut state = self.lock();
        if let Some(account) = state.accounts.peek_mut(&who.principal) {
            account.hour.add(charged.minute, 0, more);
        }
        state.total.hour.add(charged.minute, 0, more);
        if let Some(session) = state.sessions.peek_mut(who) {
            session.tokens = session.tokens.saturating_add_signed(more);
            session.cells -= u64::from(no_cell).min(session.cells);
        }
        if let Some(changes) = &mut state.changes {
            changes.note(&who.principal, charged.minute, 1, tokens);
        }
    }

    /// What a call was charged is taken back.
    pub(super) fn revoke(&self, who: &Who, charged: Charged) {
        let mut state = self.lock();
        let State { accounts, total, sessions, .. } = &mut *state;
        for (account, limit) in [
            (accounts.peek_mut(&who.principal), self.minded.requests_per_minute),
            (Some(total), self.minded.total_requests_per_minute),
        ] {
            let Some(account) = account else { continue };
            account.hour.add(charged.minute, -1, -signed(charged.tokens));
            if limit > 0 {
                account.pace.give_back(limit);
            }
        }
        if let Some(session) = sessions.peek_mut(who) {
            session.cells -= u64::from(charged.cell).min(session.cells);
            session.tokens = session.tokens.saturating_sub(charged.tokens);
        }
    }

    /// A call is over.
    pub(super) fn leave(&self, who: &Who) {
        let mut state = self.lock();
        state.running_total = state.running_total.saturating_sub(1);
        if let Some(running) = state.running.get_mut(who) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(who);
            }
        }
    }

    /// Whether every limit leaves room.
    fn check(&self, state: &State, who: &Who, wanted: Wanted, now: i64) -> Result<(), Over> {
        let limits = &self.minded;
        let running = state.running.get(who).copied().unwrap_or_default();
        Limit::SessionCalls.room(running, limits.concurrent_per_session)?;
        Limit::AllCalls.room(state.running_total, limits.concurrent_total)?;
        if wanted.free {
            return Ok(());
        }
        let session = state.sessions.peek(who).copied().unwrap_or_default();
        session.check(wanted, &limits.session)?;
        let empty = Account::default();
        let mine = state.accounts.peek(&who.principal).unwrap_or(&empty);
        mine.check(
            wanted.tokens,
            now,
            (Limit::Requests, limits.requests_per_minute),
            (Limit::Tokens, limits.tokens_per_hour),
        )?;
        state.total.check(
            wanted.tokens,
            now,
            (Limit::AllRequests, limits.total_requests_per_minute),
            (Limit::AllTokens, limits.total_tokens_per_hour),
        )
    }

    /// How a caller stands.
    #[must_use]
    pub fn standing(&self, principal: &str, now: Instant) -> Standing {
        let (micros, minute) = (self.micros(now), self.minute(now));
        let limits = &self.settings;
        let account = self.lock().accounts.peek(principal).cloned().unwrap_or_default();
        let tokens = account.hour.tokens(minute);
        let requests = limits.requests_per_minute;
        let most = limits.tokens_per_hour;
        Standing {
            requests_left: (requests > 0).then(|| account.pace.left(requests, micros)),
            hour_calls: account.hour.calls(minute),
            hour_tokens: tokens,
            tokens_left: (most > 0).then(|| most.saturating_sub(tokens)),
        }
    }

    /// How many calls are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.lock().running_total
    }

    /// How many callers are remembered.
    #[must_use]
    pub fn principals(&self) -> usize {
        self.lock().accounts.len()
    }

    /// What the calls of a session have cost: cells, tokens.
    #[must_use]
    pub fn of_session(&self, who: &Who) -> (u64, u64) {
        let session = self.lock().sessions.peek(who).copied().unwrap_or_default();
        (session.cells, session.tokens)
    }

    /// Begins with what was used before, and from now on holds what changes for whoever keeps it.
    pub fn load(&self, used: impl IntoIterator<Item = (Arc<str>, u32, i64, i64)>) {
        let mut state = self.lock();
        for (principal, minute, calls, tokens) in used {
            let account = state.accounts.get_or_insert_mut_ref(&principal, Account::default);
            account.hour.add(minute, calls, tokens);
            state.total.hour.add(minute, calls, tokens);
        }
        state.changes.get_or_insert_default();
    }

    /// Begins with the paces that were kept.
    pub fn load_arrivals(&self, arrivals: impl IntoIterator<Item = (Arc<str>, i64)>) {
        let mut state = self.lock();
        for (principal, arrival) in arrivals {
            let account = state.accounts.get_or_insert_mut_ref(&principal, Account::default);
            account.pace.arrival = account.pace.arrival.max(arrival);
        }
    }

    /// What has changed since it was last asked for.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.lock().changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes back what could not be kept, to be given out once more.
    pub fn restore(&self, lost: Changes) {
        if let Some(changes) = &mut self.lock().changes {
            changes.restore(lost);
        }
    }
}

impl State {
    fn charge(&mut self, who: &Who, charged: Charged, limits: &Settings, now: i64) {
        let Charged { minute, tokens, cell } = charged;
        let account = self.accounts.get_or_insert_mut_ref(&who.principal, Account::default);
        for (account, limit) in [
            (&mut *account, limits.requests_per_minute),
            (&mut self.total, limits.total_requests_per_minute),
        ] {
            account.hour.add(minute, 1, signed(tokens));
            if limit > 0 {
                account.pace.take(limit, now);
            }
        }
        let session = self.sessions.get_or_insert_mut_ref(who, Session::default);
        session.cells += u64::from(cell);
        session.tokens = session.tokens.saturating_add(tokens);
        if let Some(changes) = &mut self.changes {
            changes.arrives(&who.principal, account.pace.arrival);
        }
    }
}

impl Account {
    fn check(
        &self,
        tokens: u64,
        now: i64,
        (requests, a_minute): (Limit, u32),
        (used, an_hour): (Limit, u64),
    ) -> Result<(), Over> {
        if a_minute > 0
            && let Some(wait) = self.pace.wait(a_minute, now)
        {
            let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
            return Err(requests.over(u64::from(a_minute), u64::from(a_minute), Some(wait)));
        }
        let minute = minute(now);
        if an_hour > 0 && !self.hour.fits(minute, tokens, an_hour) {
            let frees = self.hour.frees(minute, tokens, an_hour);
            let wait = frees.map(|free| i64::from(free) * MINUTE - now);
            let wait = wait.map(|it| Duration::from_micros(u64::try_from(it).unwrap_or_default()));
            return Err(used.over(self.hour.tokens(minute), an_hour, wait));
        }
        Ok(())
    }
}

impl Session {
    fn check(self, wanted: Wanted, budget: &Budget) -> Result<(), Over> {
        if let Some(most) = budget.max_tokens.filter(|most| self.tokens >= *most) {
            return Err(Limit::SessionTokens.over(self.tokens, most, None));
        }
        if !wanted.cell {
            return Ok(());
        }
        if let Some(most) = budget.max_cells.filter(|most| self.cells >= *most) {
            return Err(Limit::SessionCells.over(self.cells, most, None));
        }
        match budget.max_seconds {
            Some(most) if wanted.ran.as_secs_f64() >= most => {
                Err(Limit::SessionSeconds.over(wanted.ran.as_secs(), whole(most), None))
            }
            _ => Ok(()),
        }
    }
}

/// One minute in microseconds.
const MINUTE: i64 = 60_000_000;

/// The minute of a time in microseconds, both since 1970.
fn minute(micros: i64) -> u32 {
    u32::try_from(micros.div_euclid(MINUTE)).unwrap_or_default()
}

/// Seconds for a message.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
fn whole(seconds: f64) -> u64 {
    seconds.clamp(0.0, 1e15).ceil() as u64
}

pub(in crate::guard) fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
