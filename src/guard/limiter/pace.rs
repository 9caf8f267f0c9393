//! Requests a minute, by the generic cell rate algorithm (GCRA): one number for each caller, the
//! time at which it would have caught up.
//!
//! After a pause a whole minute's requests may come at once; from then on one more each time that a
//! request takes at the even rate. In any time `t` no more than `limit + t × limit / 60 s` go through.
//! Times are microseconds since 1970, so that the number can outlive its process.
//! Source: ITU-T I.371, annex A ("virtual scheduling").

/// One minute in microseconds.
const MINUTE: i64 = 60_000_000;

/// Where one caller stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace {
    /// The theoretical arrival time: every request so far, at the even rate.
    pub(super) arrival: i64,
}

impl Pace {
    /// When a request may come, for `limit` requests a minute: nothing if now, else the time from now.
    #[must_use]
    pub(crate) fn wait(self, limit: u32, now: i64) -> Option<i64> {
        let earliest = self.next(limit, now) - MINUTE;
        (earliest > now).then(|| earliest - now)
    }

    /// Enters a request.
    pub(crate) fn take(&mut self, limit: u32, now: i64) {
        self.arrival = self.next(limit, now);
    }

    /// Takes a request back that was entered.
    pub(super) fn give_back(&mut self, limit: u32) {
        self.arrival -= interval(limit);
    }

    /// How many requests may come at once.
    #[must_use]
    pub(super) fn left(self, limit: u32, now: i64) -> u32 {
        left(self.arrival.saturating_sub(now), limit)
    }

    fn next(self, limit: u32, now: i64) -> i64 {
        // A clock that was set back must not lock anybody out for longer than a minute.
        self.arrival.clamp(now, now.saturating_add(MINUTE)).saturating_add(interval(limit))
    }
}

/// How many requests may come at once when all so far have caught up in so many microseconds.
pub(in crate::guard) fn left(ahead: i64, limit: u32) -> u32 {
    let room = MINUTE - ahead.clamp(0, MINUTE);
    u32::try_from(room / interval(limit)).unwrap_or(limit).min(limit)
}

fn interval(limit: u32) -> i64 {
    // Rounded up, so that rounding never lets one more through.
    MINUTE.div_euclid(i64::from(limit.max(1))) + i64::from(MINUTE % i64::from(limit.max(1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn a_minutes_requests_at_once_and_then_the_even_rate() {
        let mut pace = Pace::default();
        for left in (0..100).rev() {
            assert_eq!(pace.wait(100, NOW), None);
            pace.take(100, NOW);
            assert_eq!(pace.left(100, NOW), left);
        }
        assert_eq!(pace.wait(100, NOW), Some(600_000));
        assert_eq!(pace.wait(100, NOW + 600_000), None);
        assert_eq!(pace.left(100, NOW + MINUTE / 2), 50);
        assert_eq!(pace.left(100, NOW + 10 * MINUTE), 100);
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let pace = Pace { arrival: NOW + 1000 * MINUTE };
        assert!(pace.wait(100, NOW).is_some_and(|wait| wait <= MINUTE));
    }

    proptest! {
        /// In any span of time no more than the limit and the rate allow goes through.
        #[test]
        fn no_schedule_gets_more(
            limit in 1..200u32, steps in proptest::collection::vec(0..3_000_000i64, 1..200)
        ) {
            let (mut pace, mut now, mut taken) = (Pace::default(), NOW, Vec::new());
            for step in steps {
                now += step;
                if pace.wait(limit, now).is_none() {
                    pace.take(limit, now);
                    taken.push(now);
                }
            }
            for (begin, from) in taken.iter().enumerate() {
                for (end, until) in taken.iter().enumerate().skip(begin) {
                    let allowed = i64::from(limit) + (until - from) * i64::from(limit) / MINUTE + 1;
                    prop_assert!(((end - begin) as i64) < allowed);
                }
            }
        }
    }
}
