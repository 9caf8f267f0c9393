//! What is done at one target after a failure: the same once more, the answer in one piece, or
//! leaving it.
//!
//! Pure. A broken stream is asked for again with the same body: most breaks are accidents of the
//! way. If it breaks again, the answer comes without streaming, and after that another target's turn
//! has come. An overload that is told inside a stream goes straight to the answer in one piece, after
//! a pause: that is what is kept up longest by a provider with too much to do.

use std::time::Duration;

use super::{
    error::{Class, Failure, Phase},
    route::Retry,
};
use crate::base::backoff::Backoff;

/// Added to what a provider asks to wait, at most: those who were refused together should not come
/// back together.
const SPREAD: Duration = Duration::from_millis(250);

/// What has happened at a target during one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    repeated: u32,
    breaks: u32,
    /// Whether the answer is asked for in one piece.
    pub(super) whole: bool,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is asked again, after this time.
    Again(Duration),
    /// It is left.
    Leave,
}

/// Times between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pauses {
    /// Where the provider says nothing.
    pub(super) backoff: Backoff,
    /// The longest that a provider may ask for.
    pub(super) patience: Duration,
}

impl Course {
    pub(super) fn new(whole: bool) -> Self {
        Self { repeated: 0, breaks: 0, whole }
    }

    /// Decides after a failure. `spare`: another target is left; `roll`, 0 to 1, spreads the pauses.
    pub(super) fn after(
        &mut self,
        failure: &Failure,
        retry: &Retry,
        pauses: &Pauses,
        spare: bool,
        roll: f64,
    ) -> Next {
        match failure.class {
            Class::Stream | Class::Timeout(Phase::Idle) if !self.whole => {
                self.breaks += 1;
                self.whole = self.breaks > 1;
                let nothing = Retry { heed_retry_after: false, ..retry.clone() };
                Next::Again(pause(failure, &nothing, pauses, self.breaks - 1, roll))
            }
            // Asked once in pieces, or twice, and once whole: that is enough.
            Class::Stream | Class::Timeout(Phase::Idle) if self.breaks > 0 => Next::Leave,
            Class::Timeout(_) if spare => Next::Leave,
            _ if !listed(failure, retry) || self.repeated >= retry.attempts => Next::Leave,
            class => {
                let wait = pause(failure, retry, pauses, self.repeated, roll);
                if wait > pauses.patience + SPREAD {
                    return Next::Leave;
                }
                self.repeated += 1;
                self.whole |= class == Class::Overloaded && failure.in_stream;
                Next::Again(wait)
            }
        }
    }
}

/// Whether it is asked again after this.
fn listed(failure: &Failure, retry: &Retry) -> bool {
    match (failure.class, &retry.on_status_codes) {
        (
            Class::ContextLength | Class::ContentFilter | Class::Guardrail | Class::BreakerOpen,
            _,
        ) => false,
        (Class::Connect | Class::Timeout(_) | Class::Stream, _) => true,
        (_, Some(codes)) => codes.contains(&failure.status),
        (class, None) => class.is_passing(),
    }
}

fn pause(failure: &Failure, retry: &Retry, pauses: &Pauses, number: u32, roll: f64) -> Duration {
    match failure.retry_after.filter(|_| retry.heed_retry_after) {
        Some(wait) => wait.saturating_add(SPREAD.mul_f64(roll.clamp(0.0, 1.0))),
        None => pauses.backoff.delay(number, roll),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pauses() -> Pauses {
        let backoff = Backoff { cap: Duration::from_secs(8), ..Backoff::default() };
        Pauses { backoff, patience: Duration::from_secs(30) }
    }

    /// What is done after these failures, with what the last attempt would be.
    fn after(failures: &[Failure], spare: bool) -> Vec<(Next, bool)> {
        let mut course = Course::new(false);
        let next = |failure| {
            let next = course.after(failure, &Retry::default(), &pauses(), spare, 0.5);
            (next, course.whole)
        };
        failures.iter().map(next).collect()
    }

    fn again(millis: u64) -> Next {
        Next::Again(Duration::from_millis(millis))
    }

    fn broken() -> Failure {
        Failure::new(Class::Stream, "cut").in_stream()
    }

    #[test]
    fn a_broken_stream_is_asked_for_once_more_then_in_one_piece_then_left() {
        let expected = [(again(500), false), (again(1000), true), (Next::Leave, true)];
        assert_eq!(after(&[broken(), broken(), broken()], true), expected);
        let stalled = Failure::new(Class::Timeout(Phase::Idle), "").in_stream();
        assert_eq!(after(&[stalled.clone(), stalled.clone(), stalled], true), expected);
    }

    #[test]
    fn an_overload_inside_a_stream_goes_to_one_piece_after_a_pause() {
        let overloaded = Failure::new(Class::Overloaded, "").in_stream();
        let expected = [(again(500), true), (again(1000), true), (Next::Leave, true)];
        assert_eq!(after(&[overloaded.clone(), overloaded.clone(), overloaded], true), expected);
        let at_once = Failure::new(Class::Overloaded, "");
        assert_eq!(after(&[at_once], true), [(again(500), false)]);
    }

    #[test]
    fn what_would_fail_again_is_left_at_once() {
        for class in [
            Class::ContextLength,
            Class::ContentFilter,
            Class::BadRequest,
            Class::Denied,
            Class::NotFound,
            Class::Guardrail,
        ] {
            assert_eq!(after(&[Failure::new(class, "")], false), [(Next::Leave, false)]);
        }
    }

    #[test]
    fn a_silent_target_is_left_while_another_is_there() {
        for phase in [Phase::Headers, Phase::FirstToken, Phase::Total] {
            let silent = [Failure::new(Class::Timeout(phase), "")];
            assert_eq!(after(&silent, true), [(Next::Leave, false)]);
            assert_eq!(after(&silent, false), [(again(500), false)]);
        }
    }

    #[test]
    fn the_provider_has_the_word_up_to_the_patience() {
        let asks = |seconds| {
            let wait = Some(Duration::from_secs(seconds));
            [Failure { retry_after: wait, ..Failure::new(Class::RateLimited, "") }]
        };
        assert_eq!(after(&asks(2), true), [(again(2125), false)]);
        assert_eq!(after(&asks(31), true), [(Next::Leave, false)]);
        assert_eq!(after(&asks(u64::MAX), true), [(Next::Leave, false)]);
    }

    #[test]
    fn codes_that_are_listed_are_the_only_ones() {
        let retry = Retry { on_status_codes: Some(vec![409]), ..Retry::default() };
        let next =
            |failure: &Failure| Course::new(false).after(failure, &retry, &pauses(), true, 0.5);
        assert_eq!(next(&Failure::new(Class::RateLimited, "")), Next::Leave);
        assert_eq!(next(&Failure::new(Class::BadRequest, "").with_status(409)), again(500));
        assert_eq!(next(&Failure::new(Class::Connect, "")), again(500));
    }

    fn any_failure() -> impl Strategy<Value = Failure> {
        let class = prop_oneof![
            Just(Class::Stream),
            Just(Class::Overloaded),
            Just(Class::RateLimited),
            Just(Class::Server),
            Just(Class::Connect),
            Just(Class::Timeout(Phase::Idle)),
            Just(Class::Timeout(Phase::Headers)),
            Just(Class::BadRequest),
        ];
        (class, any::<bool>(), proptest::option::of(0..100u64)).prop_map(|(class, inside, wait)| {
            let retry_after = wait.map(Duration::from_secs);
            Failure { in_stream: inside, retry_after, ..Failure::new(class, "") }
        })
    }

    proptest! {
        #[test]
        fn no_target_is_asked_for_ever_and_whole_never_turns_back(
            failures in proptest::collection::vec(any_failure(), 20), spare: bool, roll in 0.0..=1.0f64,
        ) {
            let mut course = Course::new(false);
            let mut asked = 1;
            for failure in &failures {
                let whole = course.whole;
                match course.after(failure, &Retry::default(), &pauses(), spare, roll) {
                    Next::Leave => break,
                    Next::Again(wait) => {
                        asked += 1;
                        prop_assert!(wait <= Duration::from_secs(30) + SPREAD);
                    }
                }
                prop_assert!(course.whole || !whole);
            }
            prop_assert!(asked <= 5, "{asked}");
        }
    }
}
