//! How much each user called: in this minute, and in all by tool.
//!
//! [`Meter`] is told of each call and sums up on demand. What an hour has cost is the limiter's to
//! know ([`super::limiter`]).

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{MOST_PRINCIPALS, keyed::Keyed, window::Window};

/// Counts of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls that were carried out.
    pub calls: u64,
    /// Estimated tokens of arguments and answers.
    pub tokens: u64,
    /// Calls that ended in a fault of husk or the kernel.
    pub faults: u64,
    /// Calls that were refused.
    pub denied: u64,
    /// Calls that were told of an execution which another call had begun.
    pub joined: u64,
}

impl Counts {
    /// A call that husk could not even answer.
    pub const FAULT: Self = Self { calls: 1, tokens: 0, faults: 1, denied: 0, joined: 0 };

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.faults += other.faults;
        self.denied += other.denied;
        self.joined += other.joined;
    }
}

/// What one user called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Calls of the last 60 seconds.
    pub minute_calls: u64,
    /// Their tokens.
    pub minute_tokens: u64,
    /// In all, by tool.
    pub by_tool: BTreeMap<&'static str, Counts>,
}

#[derive(Debug, Default)]
struct Used {
    minute: Window,
    by_tool: BTreeMap<&'static str, Counts>,
}

/// What was counted since it was last asked for: by principal and tool.
pub type Counted = HashMap<(Arc<str>, &'static str), Counts>;

/// Counts calls. Its locks are held for additions only.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    used: Keyed<Arc<str>, Used>,
    /// Only where somebody collects it.
    counted: Mutex<Option<Counted>>,
}

/// The most entries that wait for who collects them; what comes beyond is not kept outside.
const MOST_COUNTED: usize = 20_000;

impl Meter {
    /// A meter whose clock starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let most = NonZeroUsize::new(MOST_PRINCIPALS).unwrap_or(NonZeroUsize::MIN);
        Self { start: now, used: Keyed::new(most), counted: Mutex::default() }
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call that ended at `now`.
    pub fn record(&self, principal: &Arc<str>, tool: &'static str, counts: Counts, now: Instant) {
        let second = self.second(now);
        self.used.with(principal, |used| {
            let tokens = i64::try_from(counts.tokens).unwrap_or(i64::MAX);
            if counts.calls > 0 {
                used.minute.add(second, 1, tokens);
            }
            used.by_tool.entry(tool).or_default().add(counts);
        });
        if let Some(counted) = &mut *self.counted()
            && counted.len() < MOST_COUNTED
        {
            counted.entry((Arc::clone(principal), tool)).or_default().add(counts);
        }
    }

    /// Begins with what was counted before, and from now on holds what is counted for who collects it.
    pub fn load(&self, before: impl IntoIterator<Item = (Arc<str>, &'static str, Counts)>) {
        for (principal, tool, counts) in before {
            self.used.with(&principal, |used| used.by_tool.entry(tool).or_default().add(counts));
        }
        self.counted().get_or_insert_default();
    }

    /// What was counted since this was last asked.
    #[must_use]
    pub fn take(&self) -> Counted {
        self.counted().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes back what could not be kept, to be given out once more.
    pub fn restore(&self, lost: Counted) {
        if let Some(counted) = &mut *self.counted() {
            for (key, counts) in lost {
                counted.entry(key).or_default().add(counts);
            }
        }
    }

    /// What a user called, at `now`.
    #[must_use]
    pub fn summary(&self, principal: &str, now: Instant) -> Summary {
        let second = self.second(now);
        let told = |used: &Used| Summary {
            minute_calls: used.minute.calls(second),
            minute_tokens: used.minute.tokens(second),
            by_tool: used.by_tool.clone(),
        };
        self.used.peek(principal, told).unwrap_or_default()
    }

    fn second(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.start).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: Counts = Counts { calls: 1, tokens: 10, faults: 0, denied: 0, joined: 0 };

    #[test]
    fn the_minute_forgets_and_totals_do_not() {
        let start = Instant::now();
        let meter = Meter::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let (me, you): (Arc<str>, Arc<str>) = ("me".into(), "you".into());
        meter.record(&me, "a", ONE, at(0));
        meter.record(&me, "b", Counts { faults: 1, ..ONE }, at(30));
        meter.record(&me, "b", Counts { denied: 1, ..Counts::default() }, at(30));
        meter.record(&you, "a", ONE, at(30));
        let check = |seconds, minute| {
            assert_eq!(meter.summary("me", at(seconds)).minute_calls, minute, "at {seconds}");
        };
        check(30, 2);
        check(59, 2);
        check(60, 1);
        check(90, 0);
        check(1_000_000, 0);
        let by_tool = meter.summary("me", at(9999)).by_tool;
        assert_eq!(by_tool["b"], Counts { faults: 1, denied: 1, ..ONE });
        assert_eq!(meter.summary("nobody", at(30)), Summary::default());
    }

    #[test]
    fn what_is_kept_elsewhere_is_given_out_once() {
        let now = Instant::now();
        let (meter, me): (_, Arc<str>) = (Meter::new(now), "me".into());
        meter.record(&me, "a", ONE, now);
        assert!(meter.take().is_empty());
        meter.load([(Arc::clone(&me), "a", Counts { calls: 5, ..ONE })]);
        meter.record(&me, "a", ONE, now);
        assert_eq!(meter.summary("me", now).by_tool["a"].calls, 7);
        let taken = meter.take();
        assert_eq!(taken[&(Arc::clone(&me), "a")], ONE);
        assert!(meter.take().is_empty());
        meter.restore(taken);
        assert_eq!(meter.take().len(), 1);
    }
}
