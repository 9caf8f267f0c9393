//! How much a caller, a session, and all together may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most tool calls of one user a minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Most tokens (estimated, arguments and answers) of one user an hour; 0 for no limit.
    pub tokens_per_hour: u64,
    /// Most tool calls of all users a minute; 0 for no limit.
    pub total_requests_per_minute: u32,
    /// Most tokens of all users an hour; 0 for no limit.
    pub total_tokens_per_hour: u64,
    /// Most tool calls of one session at the same time; 0 for no limit.
    pub concurrent_per_session: usize,
    /// Most tool calls at the same time; 0 for no limit.
    pub concurrent_total: usize,
    /// What one session may use in all.
    pub session: Budget,
}

/// What one session may use in all, as long as its server lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Most cells that a session may run; unset means no limit.
    pub max_cells: Option<u64>,
    /// Most seconds that the cells of a session may run, all together; a cell is stopped when they are
    /// used up; unset means no limit.
    pub max_seconds: Option<f64>,
    /// Most tokens of a session's calls; unset means no limit.
    pub max_tokens: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_per_minute: 100,
            tokens_per_hour: 1_000_000,
            total_requests_per_minute: 0,
            total_tokens_per_hour: 0,
            concurrent_per_session: 100,
            concurrent_total: 1000,
            session: Budget::default(),
        }
    }
}

impl Settings {
    /// No limit at all, for a user's own commands.
    #[must_use]
    pub fn none() -> Self {
        Self {
            requests_per_minute: 0,
            tokens_per_hour: 0,
            concurrent_per_session: 0,
            concurrent_total: 0,
            ..Self::default()
        }
    }

    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("total_requests_per_minute", self.total_requests_per_minute),
        ] {
            // One request takes a whole number of microseconds.
            if value > 60_000_000 {
                faults.push((field, format!("must be 0 to 60000000, not {value}")));
            }
        }
        let seconds = self.session.max_seconds;
        if let Some(seconds) = seconds.filter(|it| !(*it > 0.0 && it.is_finite())) {
            faults.push(("session.max_seconds", format!("must be more than 0, not {seconds}")));
        }
        faults
    }
}
