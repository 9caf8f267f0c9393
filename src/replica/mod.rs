//! Floor 2: what servers side by side know together, in a Redis or in the PostgreSQL of their store: limits
//! that hold over all of them, and idempotency keys.
//!
//! Here is where that is kept ([`crate::guard::shared::counter::Counter`]); what it means for a call, and
//! what becomes of it while nobody answers, is [`crate::guard::shared`]'s.

use std::time::Duration;

use crate::guard::{
    limiter::{Limit, Settings as Limits},
    shared::counter::Place,
};

#[cfg(feature = "redis")]
mod in_redis;
mod in_store;
pub mod settings;

#[cfg(feature = "redis")]
pub use in_redis::InRedis;
pub use in_store::{Asked, InStore, Opening};
pub use settings::Settings;

/// The limit of that number, as databases answer it, and how much it is; nothing for none.
fn limit(reached: u64, limits: &Limits) -> Option<(Limit, u64)> {
    Some(match reached {
        1 => (Limit::SessionCalls, limits.concurrent_per_session as u64),
        2 => (Limit::AllCalls, limits.concurrent_total as u64),
        3 => (Limit::Requests, limits.requests_per_minute.into()),
        4 => (Limit::AllRequests, limits.total_requests_per_minute.into()),
        5 => (Limit::Tokens, limits.tokens_per_hour),
        6 => (Limit::AllTokens, limits.total_tokens_per_hour),
        _ => return None,
    })
}

/// A call as databases know it.
fn call(place: &Place) -> String {
    format!("{:032x}", place.call)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(all(feature = "redis", feature = "postgres"))]
mod tests;
