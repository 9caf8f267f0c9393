//! How long to wait before the next try: exponential, with a cap and jitter, unless the other side
//! says. The one retry helper of the crate.
//!
//! [`Backoff::delay`] is a plain function of the number of tries and of a number that the caller
//! rolls; [`Backoff::retry`] tries, waits and tries again.

use std::time::Duration;

/// Waiting times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Before the first repetition.
    pub first: Duration,
    /// Each further time is so many times longer.
    pub factor: f64,
    /// No time is longer, jitter included.
    pub cap: Duration,
    /// By which share a time varies, up and down: 0.25 for ±25 %.
    pub jitter: f64,
    /// Repetitions after the first try.
    pub retries: u32,
}

impl Default for Backoff {
    /// 0.5 s, doubling up to 30 s, ±25 %, three repetitions.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            factor: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.25,
            retries: 3,
        }
    }
}

/// What an error means for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It would fail in the same way.
    No,
    /// It may succeed.
    Yes,
    /// It may succeed after this time, as the other side says.
    After(Duration),
}

impl Backoff {
    /// The time before repetition `number`, counted from 0. `roll` (0 to 1) picks the place within
    /// the jitter; one half is the middle.
    #[must_use]
    pub fn delay(&self, number: u32, roll: f64) -> Duration {
        let power = self.factor.powi(i32::try_from(number).unwrap_or(i32::MAX));
        let spread = 1.0 + self.jitter * (2.0 * roll.clamp(0.0, 1.0) - 1.0);
        let seconds = self.first.as_secs_f64() * power * spread;
        let cap = self.cap.as_secs_f64();
        // Not a number or beyond every bound: as long as may be.
        Duration::try_from_secs_f64(seconds.min(cap).max(0.0)).unwrap_or(self.cap)
    }

    /// The time before repetition `number`, if there is to be one. A wait that the other side asks
    /// for and that is longer than the cap is not waited for.
    #[must_use]
    pub fn next(&self, number: u32, again: Again, roll: f64) -> Option<Duration> {
        match again {
            _ if number >= self.retries => None,
            Again::No => None,
            Again::Yes => Some(self.delay(number, roll)),
            Again::After(wait) => (wait <= self.cap).then_some(wait),
        }
    }

    /// Tries until it succeeds, fails for good, or has been repeated often enough.
    ///
    /// # Errors
    /// The last error.
    pub async fn retry<T, E>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
        again: impl Fn(&E) -> Again,
        mut roll: impl FnMut() -> f64,
    ) -> Result<T, E> {
        let mut number = 0;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(wait) = self.next(number, again(&error), roll()) else { return Err(error) };
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::time::Instant;

    #[test]
    fn times_double_up_to_the_cap() {
        let backoff = Backoff { cap: Duration::from_secs(3), ..Backoff::default() };
        for (number, millis) in
            [(0, 500), (1, 1000), (2, 2000), (3, 3000), (40, 3000), (5000, 3000)]
        {
            assert_eq!(backoff.delay(number, 0.5), Duration::from_millis(millis), "{number}");
        }
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(375));
        assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(625));
    }

    #[test]
    fn the_other_side_has_the_word_up_to_the_cap() {
        let backoff = Backoff::default();
        let after = |seconds| backoff.next(0, Again::After(Duration::from_secs(seconds)), 0.9);
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(31), None);
        assert_eq!(backoff.next(0, Again::No, 0.5), None);
        assert_eq!(backoff.next(3, Again::Yes, 0.5), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_between_tries_and_gives_up_at_last() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let (mut tries, begun) = (0, Instant::now());
        let fails = async || {
            tries += 1;
            Err::<(), _>(tries)
        };
        assert_eq!(backoff.retry(fails, |_| Again::Yes, || 0.5).await, Err(4));
        assert_eq!(begun.elapsed(), Duration::from_millis(500 + 1000 + 2000));

        let mut tries = 0;
        let third = async || {
            tries += 1;
            if tries == 3 { Ok("done") } else { Err("not yet") }
        };
        assert_eq!(backoff.retry(third, |_| Again::Yes, || 0.5).await, Ok("done"));
        let refused = async || Err::<(), _>("bad");
        assert_eq!(backoff.retry(refused, |_| Again::No, || 0.5).await, Err("bad"));
    }

    proptest! {
        #[test]
        fn no_time_leaves_its_bounds(number in any::<u32>(), roll in 0.0..=1.0f64) {
            let backoff = Backoff::default();
            let (time, middle) = (backoff.delay(number, roll), backoff.delay(number, 0.5));
            prop_assert!(time <= backoff.cap);
            prop_assert!(time.as_secs_f64() >= 0.75 * middle.as_secs_f64() - 1e-9);
        }
    }
}
