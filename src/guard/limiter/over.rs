//! The limits by name, and what is said when one is reached.

use std::time::Duration;

use crate::guard::{Denial, shared::UNCHECKED};

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests of a caller a minute.
    Requests,
    /// Requests of all a minute.
    AllRequests,
    /// Tokens of a caller an hour.
    Tokens,
    /// Tokens of all an hour.
    AllTokens,
    /// Calls of a session at the same time.
    SessionCalls,
    /// Calls of all at the same time.
    AllCalls,
    /// Cells of a session.
    SessionCells,
    /// Seconds of a session's cells.
    SessionSeconds,
    /// Tokens of a session.
    SessionTokens,
}

/// The codes of this layer's denials.
pub const CODES: [&str; 9] = [
    "requests_per_minute",
    "total_requests_per_minute",
    "tokens_per_hour",
    "total_tokens_per_hour",
    "concurrent_calls",
    "session_cells",
    "session_seconds",
    "session_tokens",
    UNCHECKED,
];

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub limit: Limit,
    /// How much is used.
    pub used: u64,
    /// How much may be.
    pub most: u64,
    /// When it frees; none where that does not depend on time, or never comes.
    pub retry_after: Option<Duration>,
}

impl Limit {
    /// This limit, reached.
    #[must_use]
    pub fn over(self, used: u64, most: u64, retry_after: Option<Duration>) -> Over {
        Over { limit: self, used, most, retry_after }
    }

    /// Whether one more fits beside `used`; a `most` of 0 is no limit.
    ///
    /// # Errors
    /// [`Over`].
    pub fn room(self, used: usize, most: usize) -> Result<(), Over> {
        let reached = most > 0 && used >= most;
        if reached { Err(self.over(used as u64, most as u64, None)) } else { Ok(()) }
    }

    /// Its stable word, its setting, and what it counts.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Requests => {
                ("requests_per_minute", "requests_per_minute", "calls of this minute")
            }
            Self::AllRequests => (
                "total_requests_per_minute",
                "total_requests_per_minute",
                "calls of all users in this minute",
            ),
            Self::Tokens => ("tokens_per_hour", "tokens_per_hour", "tokens of this hour"),
            Self::AllTokens => (
                "total_tokens_per_hour",
                "total_tokens_per_hour",
                "tokens of all users in this hour",
            ),
            Self::SessionCalls => (
                "concurrent_calls",
                "concurrent_per_session",
                "calls of this session at the same time",
            ),
            Self::AllCalls => {
                ("concurrent_calls", "concurrent_total", "calls of all users at the same time")
            }
            Self::SessionCells => ("session_cells", "session.max_cells", "cells of this session"),
            Self::SessionSeconds => {
                ("session_seconds", "session.max_seconds", "seconds of this session's cells")
            }
            Self::SessionTokens => {
                ("session_tokens", "session.max_tokens", "tokens of this session")
            }
        }
    }

    /// The setting that says how much, in its section.
    #[must_use]
    pub fn setting(self) -> &'static str {
        self.words().1
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Requests | Self::AllRequests => {
                "wait, and do more in one cell instead of many small ones"
            }
            Self::Tokens | Self::AllTokens => {
                "print less: look at parts, summaries and shapes instead of whole values"
            }
            Self::SessionCalls | Self::AllCalls => "wait for the answers of the calls under way",
            Self::SessionCells | Self::SessionSeconds | Self::SessionTokens => {
                "this session's budget is used up: finish with what you have, and tell the user"
            }
        }
    }
}

impl Over {
    /// What is said about it.
    #[must_use]
    pub fn denial(self) -> Denial {
        let (code, setting, what) = self.limit.words();
        let Self { used, most, .. } = self;
        let when = match self.retry_after {
            Some(after) => format!("; free in {:.1} s", after.as_secs_f64().max(0.1)),
            None => String::new(),
        };
        let hourly = matches!(self.limit, Limit::Tokens | Limit::AllTokens);
        let reached = match self.retry_after {
            None if hourly => format!("this call alone is larger than {most} {what}"),
            _ => format!("{used} of {most} {what} are used{when}"),
        };
        Denial {
            by: "limiter",
            code,
            reason: format!(
                "limit reached: {reached} (setting `limits.{setting}`); the call was not carried out \
                 and is not counted"
            ),
            retry_after_s: self.retry_after.map(|after| after.as_secs_f64()),
            hint: Some(self.limit.hint().to_owned()),
        }
    }
}
