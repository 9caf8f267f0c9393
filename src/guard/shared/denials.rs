//! Denials that are remembered until they can have changed: who runs on against a limit asks nobody.
//!
//! The pace of requests frees with time alone, so that its denial holds until then. Tokens free earlier
//! when a call under way costs less than it might have: such a denial is remembered for a moment, for
//! calls that want no less. Places free at any time, and are always asked for.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::guard::{
    MOST_PRINCIPALS, Who,
    keyed::Keyed,
    limiter::{Limit, Over, Wanted},
};

/// The longest that a denial for tokens is remembered.
const MOMENT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Denied {
    over: Over,
    tokens: u64,
    until: Instant,
}

/// The newest of each user; under no name that of all together.
#[derive(Debug)]
pub(super) struct Denials(Keyed<Option<Arc<str>>, Option<Denied>>);

impl Default for Denials {
    fn default() -> Self {
        Self(Keyed::new(NonZeroUsize::new(MOST_PRINCIPALS).unwrap_or(NonZeroUsize::MIN)))
    }
}

impl Denials {
    pub(super) fn remember(&self, who: &Who, wanted: Wanted, over: Over, now: Instant) {
        let Some(free) = over.retry_after else { return };
        let (holds, of_all) = match over.limit {
            Limit::Requests => (free, false),
            Limit::AllRequests => (free, true),
            Limit::Tokens => (free.min(MOMENT), false),
            Limit::AllTokens => (free.min(MOMENT), true),
            _ => return,
        };
        let key = (!of_all).then(|| Arc::clone(&who.principal));
        let until = now + holds;
        self.0.with(&key, |it| *it = Some(Denied { over, tokens: wanted.tokens, until }));
    }

    /// The denial that this call would get, with the time that is left.
    pub(super) fn known(&self, who: &Who, wanted: Wanted, now: Instant) -> Option<Over> {
        if wanted.free {
            return None;
        }
        [Some(Arc::clone(&who.principal)), None].iter().find_map(|key| {
            let denied = self.0.peek(key, |it| *it)??;
            let hourly = matches!(denied.over.limit, Limit::Tokens | Limit::AllTokens);
            let fits = hourly && wanted.tokens < denied.tokens;
            let left = denied.until.saturating_duration_since(now);
            let retry_after = match hourly {
                // That of the limit itself is longer than it is remembered.
                true => denied.over.retry_after,
                false => Some(left),
            };
            (!fits && !left.is_zero()).then_some(Over { retry_after, ..denied.over })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::test_support::who;

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_known_as_long_as_it_must_hold() {
        let now = Instant::now();
        let wanted = |tokens, free| Wanted {
            tokens,
            cell: true,
            ran: Duration::ZERO,
            refusable: true,
            free,
        };
        let check = |limit: Limit,
                     retry: Option<u64>,
                     who_asks: &str,
                     after: u64,
                     tokens,
                     known| {
            let denials = Denials::default();
            let over = limit.over(5, 5, retry.map(Duration::from_millis));
            denials.remember(&who("p", "s"), wanted(10, false), over, now);
            let later = now + Duration::from_millis(after);
            let found = denials.known(&who(who_asks, "s"), wanted(tokens, false), later);
            assert_eq!(found.is_some(), known, "{limit:?} {retry:?} {who_asks} {after} {tokens}");
            assert_eq!(denials.known(&who(who_asks, "s"), wanted(tokens, true), later), None);
            found.and_then(|over| over.retry_after).map(|wait| wait.as_millis())
        };
        assert_eq!(check(Limit::Requests, Some(600), "p", 200, 1, true), Some(400));
        check(Limit::Requests, Some(600), "p", 600, 1, false);
        check(Limit::Requests, Some(600), "q", 200, 1, false);
        check(Limit::AllRequests, Some(600), "q", 200, 1, true);
        assert_eq!(check(Limit::Tokens, Some(90_000), "p", 900, 10, true), Some(90_000));
        check(Limit::Tokens, Some(90_000), "p", 900, 9, false);
        check(Limit::Tokens, Some(90_000), "p", 1000, 10, false);
        check(Limit::AllTokens, Some(90_000), "q", 900, 10, true);
        check(Limit::SessionCalls, None, "p", 0, 1, false);
    }
}
