//! One circuit breaker as a state machine: closed, open, half open.
//!
//! - *Closed* lets every call through. Faults in a row, or too large a share of faults among the
//!   calls of a window, open it. A fault older than the window no longer counts.
//! - *Open* refuses at once, and says for how long and why. Each time it opens again after a probe
//!   that failed it stays open for twice as long, up to a bound.
//! - *Half open*: the time is over, and exactly one call goes through as a probe. Its success closes
//!   the breaker, its fault opens it; a probe that is given up gives its place back.
//!
//! A call that was let through before the breaker opened changes nothing when it comes back.
//! Pure: it is given `now`, and knows nothing of calls.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::settings::Settings;

/// That a call may go through. It is given back with what has become of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    /// The breaker's turn when it was given.
    turn: u64,
    probe: bool,
}

/// What has become of a call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing was wrong with the infrastructure.
    Fine,
    /// It failed, for this reason.
    Fault(&'a str),
    /// It says nothing: it was given up, or never carried out.
    Nothing,
}

/// Why a call is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Until the next probe; nothing is known while one is under way.
    pub retry_after: Option<Duration>,
    /// The last fault.
    pub cause: String,
}

/// A breaker's state in a word, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One call goes through.
    HalfOpen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing,
}

/// One breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    /// Counts the changes of state, so that what began before one does not count after it.
    turn: u64,
    /// How often it has opened without closing in between.
    opened: u32,
    /// Calls of the window that have come back: when, and whether with a fault.
    window: VecDeque<(Instant, bool)>,
    cause: String,
}

/// The most calls that a window remembers.
const MOST: usize = 200;

/// The longest cause that is kept, in characters.
const LONGEST_CAUSE: usize = 300;

impl Breaker {
    /// Lets a call through, or not.
    ///
    /// # Errors
    /// [`Refusal`] while it is open, or a probe is under way.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Refusal> {
        match self.state {
            State::Closed => Ok(Permit { turn: self.turn, probe: false }),
            State::Open { until } if now >= until => {
                self.change(State::Probing);
                Ok(Permit { turn: self.turn, probe: true })
            }
            State::Open { until } => {
                let wait = until.saturating_duration_since(now);
                Err(Refusal { retry_after: Some(wait), cause: self.cause.clone() })
            }
            State::Probing => Err(Refusal { retry_after: None, cause: self.cause.clone() }),
        }
    }

    /// Takes a permit back.
    pub fn record(
        &mut self,
        permit: Permit,
        verdict: Verdict<'_>,
        settings: &Settings,
        now: Instant,
    ) {
        if permit.turn != self.turn {
            return;
        }
        match (permit.probe, verdict) {
            (true, Verdict::Nothing) => self.change(State::Open { until: now }),
            (false, Verdict::Nothing) => {}
            (true, Verdict::Fine) => self.reset(),
            (false, Verdict::Fine) => self.enter(now, false, settings),
            (probe, Verdict::Fault(cause)) => {
                self.cause = cause.chars().take(LONGEST_CAUSE).collect();
                self.enter(now, true, settings);
                if probe || self.too_many(settings) {
                    self.open(settings, now);
                }
            }
        }
    }

    /// Closes it, whatever was.
    pub fn reset(&mut self) {
        self.opened = 0;
        self.window.clear();
        self.cause.clear();
        self.change(State::Closed);
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
    }

    fn open(&mut self, settings: &Settings, now: Instant) {
        let time = settings.backoff().delay(self.opened, 0.5);
        self.opened = self.opened.saturating_add(1);
        self.window.clear();
        self.change(State::Open { until: now + time });
    }

    fn enter(&mut self, now: Instant, fault: bool, settings: &Settings) {
        self.window.push_back((now, fault));
        let window = Duration::from_secs(settings.window_seconds);
        let old = |at: &Instant| now.saturating_duration_since(*at) >= window;
        while self.window.len() > MOST || self.window.front().is_some_and(|(at, _)| old(at)) {
            self.window.pop_front();
        }
    }

    fn too_many(&self, settings: &Settings) -> bool {
        let in_a_row = self.window.iter().rev().take_while(|(_, fault)| *fault).count();
        if settings.consecutive_faults > 0 && in_a_row >= settings.consecutive_faults as usize {
            return true;
        }
        let faults = self.window.iter().filter(|(_, fault)| *fault).count();
        #[expect(clippy::cast_precision_loss, reason = "a window holds a few hundred calls")]
        let share = faults as f64 / self.window.len().max(1) as f64;
        settings
            .fault_share
            .is_some_and(|most| self.window.len() >= settings.least_calls as usize && share >= most)
    }

    /// Its state.
    #[must_use]
    pub fn word(&self, now: Instant) -> Word {
        match self.state {
            State::Closed => Word::Closed,
            State::Open { until } if now < until => Word::Open,
            State::Open { .. } | State::Probing => Word::HalfOpen,
        }
    }

    /// Until a probe may go through, while it is open.
    #[must_use]
    pub fn probe_in(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::Closed | State::Probing => None,
        }
    }

    /// Faults in a row that still count.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.window.iter().rev().take_while(|(_, fault)| *fault).count()
    }

    /// The last fault.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAULT: Verdict<'static> = Verdict::Fault("the kernel died");

    struct Clocked {
        breaker: Breaker,
        settings: Settings,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            let settings = Settings::default();
            Self { breaker: Breaker::default(), settings, now: Instant::now() }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn admit(&mut self) -> Result<Permit, Refusal> {
            self.breaker.admit(self.now)
        }

        fn back(&mut self, permit: Permit, verdict: Verdict<'_>) {
            self.breaker.record(permit, verdict, &self.settings, self.now);
        }

        fn call(&mut self, verdict: Verdict<'_>) {
            let permit = self.admit().unwrap();
            self.back(permit, verdict);
        }

        fn word(&self) -> Word {
            self.breaker.word(self.now)
        }
    }

    #[test]
    fn three_faults_in_a_row_open_it_and_a_probe_closes_it() {
        let mut it = Clocked::new();
        it.call(FAULT);
        it.call(FAULT);
        it.call(Verdict::Fine);
        it.call(FAULT);
        it.call(FAULT);
        it.call(Verdict::Nothing);
        assert_eq!(it.word(), Word::Closed);
        it.call(FAULT);
        let refusal = it.admit().unwrap_err();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        assert_eq!(refusal.cause, "the kernel died");
        it.pass(30);
        let probe = it.admit().unwrap();
        assert_eq!(it.admit().unwrap_err().retry_after, None);
        it.back(probe, Verdict::Fine);
        assert_eq!((it.word(), it.breaker.faults()), (Word::Closed, 0));
    }

    #[test]
    fn each_probe_that_fails_doubles_the_time_up_to_the_bound() {
        let mut it = Clocked::new();
        (0..3).for_each(|_| it.call(FAULT));
        for seconds in [30, 60, 120, 240, 300, 300] {
            let wait = it.admit().unwrap_err().retry_after;
            assert_eq!(wait, Some(Duration::from_secs(seconds)));
            it.pass(seconds);
            it.call(FAULT);
        }
        it.pass(300);
        it.call(Verdict::Fine);
        (0..3).for_each(|_| it.call(FAULT));
        assert_eq!(it.breaker.probe_in(it.now), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_probe_that_is_given_up_gives_its_place_back() {
        let mut it = Clocked::new();
        (0..3).for_each(|_| it.call(FAULT));
        it.pass(30);
        let probe = it.admit().unwrap();
        assert!(it.admit().is_err());
        it.back(probe, Verdict::Nothing);
        it.call(Verdict::Fine);
        assert_eq!(it.word(), Word::Closed);
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let mut it = Clocked::new();
        let (late, later) = (it.admit().unwrap(), it.admit().unwrap());
        (0..3).for_each(|_| it.call(FAULT));
        it.back(late, Verdict::Fine);
        assert_eq!(it.word(), Word::Open);
        it.pass(30);
        let probe = it.admit().unwrap();
        it.back(later, FAULT);
        it.back(probe, Verdict::Fine);
        assert_eq!(it.word(), Word::Closed);
    }

    #[test]
    fn old_faults_do_not_count() {
        let mut it = Clocked::new();
        it.call(FAULT);
        it.call(FAULT);
        it.pass(it.settings.window_seconds);
        it.call(FAULT);
        assert_eq!((it.word(), it.breaker.faults()), (Word::Closed, 1));
    }

    #[test]
    fn too_large_a_share_of_faults_opens_it() {
        let mut it = Clocked::new();
        it.settings.fault_share = Some(0.5);
        for verdict in [Verdict::Fine, FAULT].repeat(5) {
            assert_eq!(it.word(), Word::Closed);
            it.call(verdict);
        }
        assert_eq!(it.word(), Word::Open);
    }

    proptest! {
        /// Under any schedule there is never more than one probe, and none before its time.
        #[test]
        fn never_two_probes(steps in proptest::collection::vec((0..5u8, 0..40u64), 0..200)) {
            let mut it = Clocked::new();
            let mut open: Vec<Permit> = Vec::new();
            for (step, seconds) in steps {
                match step {
                    0 => it.pass(seconds),
                    1 => {
                        let word = it.word();
                        if let Ok(permit) = it.admit() {
                            prop_assert!(word != Word::Open);
                            open.push(permit);
                        }
                    }
                    _ => if let Some(permit) = open.pop() {
                        let verdict = [FAULT, Verdict::Fine, Verdict::Nothing];
                        it.back(permit, verdict[usize::from(step - 2)]);
                    },
                }
                let turn = it.breaker.turn;
                prop_assert!(open.iter().filter(|it| it.probe && it.turn == turn).count() <= 1);
            }
        }
    }
}
