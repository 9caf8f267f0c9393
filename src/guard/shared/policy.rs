//! What becomes of a limit while nobody counts for all servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guard::limiter::{Limit, Settings};

/// What holds while nobody counts for all servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The limit holds on each server by itself.
    #[default]
    Local,
    /// The limit does not hold.
    Open,
    /// No call is let through.
    Closed,
}

/// The same, limit by limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnFailure {
    /// What becomes of `limits.requests_per_minute`: `local` (each server counts by itself), `open` (it
    /// does not hold) or `closed` (calls are refused).
    pub requests_per_minute: Policy,
    /// The same of `limits.total_requests_per_minute`.
    pub total_requests_per_minute: Policy,
    /// The same of `limits.tokens_per_hour`.
    pub tokens_per_hour: Policy,
    /// The same of `limits.total_tokens_per_hour`.
    pub total_tokens_per_hour: Policy,
    /// The same of `limits.concurrent_per_session`.
    pub concurrent_per_session: Policy,
    /// The same of `limits.concurrent_total`.
    pub concurrent_total: Policy,
    /// What becomes of calls with an idempotency key: `local` and `open` (each server knows its own
    /// keys) or `closed` (they are refused).
    pub idempotency_keys: Policy,
}

impl OnFailure {
    /// The limits that a server minds by itself: all but the open ones.
    #[must_use]
    pub(super) fn minded(self, limits: &Settings) -> Settings {
        fn unless_open<T: Default>(policy: Policy, limit: &mut T) {
            if policy == Policy::Open {
                *limit = T::default();
            }
        }
        let mut minded = limits.clone();
        unless_open(self.requests_per_minute, &mut minded.requests_per_minute);
        unless_open(self.tokens_per_hour, &mut minded.tokens_per_hour);
        unless_open(self.total_requests_per_minute, &mut minded.total_requests_per_minute);
        unless_open(self.total_tokens_per_hour, &mut minded.total_tokens_per_hour);
        unless_open(self.concurrent_per_session, &mut minded.concurrent_per_session);
        unless_open(self.concurrent_total, &mut minded.concurrent_total);
        minded
    }

    /// The first limit that refuses a call while nobody counts; a free one has but a place.
    #[must_use]
    pub(super) fn closed(self, limits: &Settings, free: bool) -> Option<Limit> {
        let places = [
            (Limit::SessionCalls, self.concurrent_per_session, limits.concurrent_per_session > 0),
            (Limit::AllCalls, self.concurrent_total, limits.concurrent_total > 0),
        ];
        let amounts = [
            (Limit::Requests, self.requests_per_minute, limits.requests_per_minute > 0),
            (Limit::Tokens, self.tokens_per_hour, limits.tokens_per_hour > 0),
            (
                Limit::AllRequests,
                self.total_requests_per_minute,
                limits.total_requests_per_minute > 0,
            ),
            (Limit::AllTokens, self.total_tokens_per_hour, limits.total_tokens_per_hour > 0),
        ];
        let amounts = amounts.into_iter().filter(|_| !free);
        let closed = |(limit, policy, is_set): (Limit, Policy, bool)| {
            (is_set && policy == Policy::Closed).then_some(limit)
        };
        places.into_iter().chain(amounts).find_map(closed)
    }
}

/// Whether any of the limits is one that servers can share.
#[must_use]
pub(super) fn any(limits: &Settings, free: bool) -> bool {
    let places = limits.concurrent_per_session > 0 || limits.concurrent_total > 0;
    let amounts = limits.requests_per_minute > 0
        || limits.tokens_per_hour > 0
        || limits.total_requests_per_minute > 0
        || limits.total_tokens_per_hour > 0;
    places || (amounts && !free)
}
