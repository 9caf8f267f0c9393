//! When the circuit breaker opens, and for how long.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::backoff::Backoff;

/// The circuit breaker around each tool of each session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Faults of husk or the kernel in a row that open it; 0 for never.
    pub consecutive_faults: u32,
    /// Share of faults among the calls of the window that opens it too, more than 0 and at most 1;
    /// unset means that only faults in a row count.
    pub fault_share: Option<f64>,
    /// Calls that the window must hold before the share counts.
    pub least_calls: u32,
    /// Seconds after which a fault no longer counts.
    pub window_seconds: u64,
    /// Seconds for which it stays open at first; twice as long after each probe that fails.
    pub open_seconds: f64,
    /// Most seconds for which it stays open.
    pub max_open_seconds: f64,
    /// Whether a cell that runs into its own timeout counts as a fault.
    pub count_timeouts: bool,
    /// Whether an exception of the code counts as a fault.
    pub count_errors: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_faults: 3,
            fault_share: None,
            least_calls: 10,
            window_seconds: 300,
            open_seconds: 30.0,
            max_open_seconds: 300.0,
            count_timeouts: false,
            count_errors: false,
        }
    }
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.consecutive_faults > 100 {
            faults.push((
                "consecutive_faults",
                format!("must be 0 to 100, not {}", self.consecutive_faults),
            ));
        }
        if let Some(share) = self.fault_share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            faults.push(("fault_share", format!("must be more than 0 and at most 1, not {share}")));
        }
        if !(1..=200).contains(&self.least_calls) {
            faults.push(("least_calls", format!("must be 1 to 200, not {}", self.least_calls)));
        }
        if !(1..=86_400).contains(&self.window_seconds) {
            let wrong = format!("must be 1 to 86400 seconds, not {}", self.window_seconds);
            faults.push(("window_seconds", wrong));
        }
        let times =
            [("open_seconds", self.open_seconds), ("max_open_seconds", self.max_open_seconds)];
        faults.extend(times.into_iter().filter_map(|(field, value)| {
            let fits = (0.1..=86_400.0).contains(&value);
            (!fits).then(|| (field, format!("must be 0.1 to 86400 seconds, not {value}")))
        }));
        faults
    }

    /// How long it stays open, time after time. A bound below the first time is the time.
    pub(super) fn backoff(&self) -> Backoff {
        let cap = Duration::from_secs_f64(self.max_open_seconds.clamp(0.0, 86_400.0));
        let first = Duration::from_secs_f64(self.open_seconds.clamp(0.0, 86_400.0)).min(cap);
        Backoff { first, factor: 2.0, cap, jitter: 0.0, retries: u32::MAX }
    }
}
