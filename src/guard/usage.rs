//! How much was called: calls and tokens in this minute and this hour, and since the start.
//!
//! [`Meter`] is told of each call and sums up on demand; windows slide by whole seconds (minute)
//! and whole minutes (hour). Memory is fixed for each tool.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

const SLOTS: u64 = 60;

/// Counts of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls.
    pub calls: u64,
    /// Estimated tokens of arguments and answers.
    pub tokens: u64,
    /// Calls that ended in a fault of husk or the kernel.
    pub faults: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.tokens += other.tokens;
        self.faults += other.faults;
    }
}

/// What a meter says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The last 60 seconds.
    pub minute: Counts,
    /// The last 60 minutes.
    pub hour: Counts,
    /// Since the start, by tool.
    pub by_tool: BTreeMap<&'static str, Counts>,
}

/// Sixty slots of equal length, the oldest overwritten.
#[derive(Debug)]
struct Window {
    seconds: u64,
    slots: [(u64, Counts); SLOTS as usize],
}

impl Window {
    fn new(seconds: u64) -> Self {
        Self { seconds, slots: [(0, Counts::default()); SLOTS as usize] }
    }

    fn add(&mut self, second: u64, counts: Counts) {
        let number = second / self.seconds;
        if let Some(slot) = self.slots.get_mut((number % SLOTS) as usize) {
            if slot.0 != number {
                *slot = (number, Counts::default());
            }
            slot.1.add(counts);
        }
    }

    fn sum(&self, second: u64) -> Counts {
        let number = second / self.seconds;
        let mut sum = Counts::default();
        let recent =
            self.slots.iter().filter(|(slot, _)| *slot + SLOTS > number && *slot <= number);
        recent.for_each(|(_, counts)| sum.add(*counts));
        sum
    }
}

#[derive(Debug)]
struct State {
    minute: Window,
    hour: Window,
    by_tool: BTreeMap<&'static str, Counts>,
}

/// Counts calls. The lock is held for additions only.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    state: Mutex<State>,
}

impl Meter {
    /// A meter whose clock starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let state =
            State { minute: Window::new(1), hour: Window::new(60), by_tool: BTreeMap::new() };
        Self { start: now, state: Mutex::new(state) }
    }

    /// Enters a call that ended at `now`.
    pub fn record(&self, tool: &'static str, tokens: u64, fault: bool, now: Instant) {
        let counts = Counts { calls: 1, tokens, faults: u64::from(fault) };
        let second = self.second(now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.minute.add(second, counts);
        state.hour.add(second, counts);
        state.by_tool.entry(tool).or_default().add(counts);
    }

    /// The counts at `now`.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let second = self.second(now);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Summary {
            minute: state.minute.sum(second),
            hour: state.hour.sum(second),
            by_tool: state.by_tool.clone(),
        }
    }

    /// Seconds since the start, from one window on: an empty slot must not look like the first.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() + SLOTS * SLOTS
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn windows_forget_and_totals_do_not() {
        let start = Instant::now();
        let meter = Meter::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        meter.record("a", 10, false, at(0));
        meter.record("b", 5, true, at(30));
        let check = |seconds, minute, hour| {
            let summary = meter.summary(at(seconds));
            assert_eq!((summary.minute.calls, summary.hour.calls), (minute, hour), "at {seconds}");
        };
        check(30, 2, 2);
        check(59, 2, 2);
        check(60, 1, 2);
        check(90, 0, 2);
        check(3599, 0, 2);
        check(3600, 0, 0);
        check(1_000_000, 0, 0);
        let by_tool = meter.summary(at(9999)).by_tool;
        assert_eq!(by_tool["b"], Counts { calls: 1, tokens: 5, faults: 1 });
    }
}
