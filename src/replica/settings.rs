//! Who counts for servers side by side.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::address::{Address, FORM},
    guard::shared::OnFailure,
};

/// Seconds that a call may wait for the count.
const TIMEOUTS: std::ops::RangeInclusive<f64> = 0.01..=10.0;

/// Limits and idempotency keys that hold over all servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Redis that counts for all servers, such as `rediss://husk:PASSWORD@redis.example.com/0`; the limits
    /// of `[limits]` but for a session's budget, and idempotency keys, then hold over all of them. Needs a
    /// husk with the feature `redis`. Unset means that each server counts by itself.
    #[schemars(with = "Option<String>")]
    pub redis_url: Option<Address>,
    /// Certificates (PEM) of whom to trust for `rediss://`, a path as for `workspace`; unset means whom
    /// the system trusts.
    pub redis_ca: Option<PathBuf>,
    /// Whether the database of `store.url` counts for all servers instead.
    pub store: bool,
    /// Seconds that a call waits for the count, before it goes on as `shared.on_failure` says.
    pub timeout: f64,
    /// What holds while nobody counts for all servers.
    pub on_failure: OnFailure,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_ca: None,
            store: false,
            timeout: 0.5,
            on_failure: OnFailure::default(),
        }
    }
}

impl Settings {
    /// How long a call waits for the count.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::MAX)
    }

    /// Values that cannot be: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Some(url) = &self.redis_url {
            if !url.is_redis() {
                faults.push(("redis_url", FORM.to_owned()));
            }
            if !cfg!(feature = "redis") {
                let needs =
                    "needs a husk that was built with Redis (cargo install --features redis)";
                faults.push(("redis_url", needs.to_owned()));
            }
        }
        if self.store && !cfg!(feature = "postgres") {
            let needs =
                "needs a husk that was built with PostgreSQL (cargo install --features postgres)";
            faults.push(("store", needs.to_owned()));
        }
        if !TIMEOUTS.contains(&self.timeout) {
            let (least, most) = (TIMEOUTS.start(), TIMEOUTS.end());
            let wrong = format!("must be {least} to {most} seconds, not {}", self.timeout);
            faults.push(("timeout", wrong));
        }
        faults
    }
}
