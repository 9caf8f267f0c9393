//! What all calls together came to, for who watches the server from outside: counts and times by tool,
//! and who refused.
//!
//! Knows no user and no session: those would make a number of each, without end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::usage::Counts;

/// Upper bounds of the classes of times, in seconds; what takes longer is in a class of its own.
pub const BOUNDS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0];

/// How long calls took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// Calls in each class of [`BOUNDS`].
    pub classes: [u64; BOUNDS.len()],
    /// All calls.
    pub calls: u64,
    /// Seconds, all together.
    pub seconds: f64,
}

impl Times {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.calls += 1;
        self.seconds += seconds;
        let class = BOUNDS.iter().zip(&mut self.classes).find(|(bound, _)| seconds <= **bound);
        if let Some((_, count)) = class {
            *count += 1;
        }
    }
}

/// What there is to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// By tool.
    pub tools: BTreeMap<&'static str, (Counts, Times)>,
    /// Refused calls, by who refused them.
    pub denied: BTreeMap<&'static str, u64>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Told>);

impl Tally {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call.
    pub fn record(
        &self,
        tool: &'static str,
        counts: Counts,
        denied_by: Option<&'static str>,
        took: Duration,
    ) {
        let mut told = self.told();
        let (sum, times) = told.tools.entry(tool).or_default();
        sum.add(counts);
        times.add(took);
        if let Some(by) = denied_by {
            *told.denied.entry(by).or_default() += 1;
        }
    }

    /// What it came to so far.
    #[must_use]
    pub fn look(&self) -> Told {
        self.told().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_one_class_and_a_long_one_in_none() {
        let tally = Tally::default();
        let one = Counts { calls: 1, ..Counts::default() };
        tally.record("t", one, None, Duration::from_millis(5));
        tally.record("t", one, None, Duration::from_millis(6));
        tally.record("t", Counts::default(), Some("limiter"), Duration::from_secs(301));
        let told = tally.look();
        let (counts, times) = told.tools["t"];
        assert_eq!((counts.calls, times.calls), (2, 3));
        assert_eq!(times.classes[..3], [1, 1, 0]);
        assert_eq!(times.classes.iter().sum::<u64>(), 2);
        assert!((times.seconds - 301.011).abs() < 1e-9);
        assert_eq!(told.denied, BTreeMap::from([("limiter", 1)]));
    }
}
