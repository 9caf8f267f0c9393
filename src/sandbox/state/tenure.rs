//! Who has a session, as a value: which process may take it, and what its writes may change.
//!
//! Pure, and the measure for every store: a store does the same in one guarded statement each, and
//! a test compares the two. `now` is the time of the store's clock, in milliseconds. Each claim
//! raises the epoch; whoever writes names the epoch of its claim, so that one who was overtaken
//! changes nothing.

use std::time::Duration;

use super::State;
use crate::base::backoff::Backoff;

/// Waits between starts that fail, and how many of them are tried one after the other.
pub const RETRIES: Backoff = Backoff {
    first: Duration::from_millis(500),
    factor: 2.0,
    cap: Duration::from_secs(30),
    jitter: 0.0,
    retries: 4,
};

/// How long a session rests after the last of them.
pub const REST: Duration = Duration::from_secs(60);

/// Where a session is, for all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// No kernel runs.
    #[default]
    Off,
    /// A kernel is being started, or found again.
    Starting,
    /// Its kernel waits for a cell.
    Idle,
    /// Its kernel runs a cell.
    Busy,
    /// The last start failed.
    Error,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Off, Self::Starting, Self::Idle, Self::Busy, Self::Error];

    /// The stage as one word, the same as that of a [`State`].
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => State::Off.word(),
            Self::Starting => State::Starting.word(),
            Self::Idle => State::Idle.word(),
            Self::Busy => State::Busy.word(),
            Self::Error => State::Error(String::new()).word(),
        }
    }

    /// The stage of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}

/// What is known of a session to all processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenure {
    /// Where it is.
    pub stage: Stage,
    /// Where it was before it was claimed.
    pub was: Stage,
    /// How often it was claimed: the fencing token.
    pub epoch: u64,
    /// Who has it. Nobody has a kernel that was left running.
    pub holder: Option<String>,
    /// Until when, unless it is renewed.
    pub lease_until: u64,
    /// How many kernels it has had.
    pub generation: u64,
    /// Number of the last cell of its kernel, or of the one that is gone.
    pub cells: u64,
    /// Where its kernel is.
    pub place: Option<String>,
    /// Why the last start failed.
    pub error: Option<String>,
    /// How many starts have failed one after the other.
    pub attempts: u32,
    /// Until when it is not tried again.
    pub retry_at: u64,
}

/// Why a claim is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another process has it.
    Held,
    /// A start has failed; the next is tried in so many milliseconds.
    NotYet(u64),
    /// Too many have failed; it rests for so many milliseconds.
    Resting(u64),
}

/// Who claims, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who.
    pub holder: String,
    /// For how long, unless it is renewed.
    pub lease: Duration,
    /// A holder that is known to have died: its lease counts no more.
    pub dead: Option<String>,
}

/// What a holder reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The kernel will be there. Before it is started: what comes of it can be found.
    Placed(String),
    /// The kernel answers.
    Ready {
        /// Where it is.
        place: String,
        /// Which one of the session it is.
        generation: u64,
    },
    /// A cell of that number was handed to it.
    CellBegan(u64),
    /// The cell is over.
    CellEnded,
    /// The start has failed.
    Failed(String),
    /// The kernel is gone; the holder keeps the session.
    Gone,
    /// Another start begins.
    StartBegan,
    /// The holder goes, and leaves what runs of its kernel.
    Left,
    /// The holder goes, and so does its kernel.
    Off,
}

impl Tenure {
    /// Whether it may be claimed now.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn claimable(&self, now: u64, dead: Option<&str>) -> Result<(), Refused> {
        match self.stage {
            Stage::Off if self.holder.is_none() => Ok(()),
            Stage::Error if self.holder.is_none() => match self.retry_at.saturating_sub(now) {
                0 => Ok(()),
                wait if self.attempts > RETRIES.retries => Err(Refused::Resting(wait)),
                wait => Err(Refused::NotYet(wait)),
            },
            _ => match &self.holder {
                None => Ok(()),
                Some(holder) if dead == Some(holder) || self.lease_until < now => Ok(()),
                Some(_) => Err(Refused::Held),
            },
        }
    }

    /// Takes it: the epoch of the claim.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn claim(&mut self, now: u64, terms: &Terms) -> Result<u64, Refused> {
        self.claimable(now, terms.dead.as_deref())?;
        if self.stage != Stage::Starting {
            self.was = self.stage;
        }
        // Who has rested begins anew.
        if self.attempts > RETRIES.retries {
            self.attempts = 0;
        }
        self.stage = Stage::Starting;
        self.epoch += 1;
        self.holder = Some(terms.holder.clone());
        self.lease_until = now.saturating_add(millis(terms.lease));
        Ok(self.epoch)
    }

    /// Takes in what the holder `by` reports under its claim `epoch`; whether it still may.
    pub fn step(&mut self, now: u64, by: &str, epoch: u64, step: Step) -> bool {
        if self.holder.as_deref() != Some(by) || self.epoch != epoch || !self.allows(&step) {
            return false;
        }
        match step {
            Step::Placed(place) => self.place = Some(place),
            Step::Ready { place, generation } => {
                if self.generation != generation {
                    self.cells = 0;
                }
                (self.place, self.generation) = (Some(place), generation);
                (self.error, self.attempts, self.retry_at) = (None, 0, 0);
                self.stage = Stage::Idle;
            }
            Step::CellBegan(number) => (self.stage, self.cells) = (Stage::Busy, number),
            Step::CellEnded => self.stage = Stage::Idle,
            Step::Failed(why) => {
                self.retry_at = now.saturating_add(millis(rest(self.attempts)));
                self.attempts += 1;
                (self.error, self.place, self.holder) = (Some(why), None, None);
                self.stage = Stage::Error;
            }
            Step::Gone => (self.stage, self.place) = (Stage::Off, None),
            Step::StartBegan => self.stage = Stage::Starting,
            Step::Left => self.holder = None,
            Step::Off => (self.stage, self.place, self.holder) = (Stage::Off, None, None),
        }
        true
    }

    /// Whether that can follow.
    fn allows(&self, step: &Step) -> bool {
        match step {
            Step::Placed(_) | Step::Ready { .. } | Step::Failed(_) => self.stage == Stage::Starting,
            // The end of the one before may not have been written.
            Step::CellBegan(_) => matches!(self.stage, Stage::Idle | Stage::Busy),
            Step::CellEnded => self.stage == Stage::Busy,
            Step::StartBegan => self.stage == Stage::Off,
            Step::Left => matches!(self.stage, Stage::Starting | Stage::Idle | Stage::Busy),
            Step::Gone | Step::Off => true,
        }
    }

    /// Holds it for longer; whether `by` still has it.
    pub fn renew(&mut self, now: u64, by: &str, lease: Duration) -> bool {
        let has = self.holder.as_deref() == Some(by);
        if has {
            self.lease_until = now.saturating_add(millis(lease));
        }
        has
    }
}

/// How long a session rests after a start that failed, when `attempts` had failed before it.
#[must_use]
pub fn rest(attempts: u32) -> Duration {
    if attempts >= RETRIES.retries { REST } else { RETRIES.delay(attempts, 0.5) }
}

/// Milliseconds, as a store counts them.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn terms(holder: &str) -> Terms {
        Terms { holder: holder.into(), lease: LEASE, dead: None }
    }

    fn ready() -> Step {
        Step::Ready { place: "/run".into(), generation: 1 }
    }

    #[test]
    fn a_starter_that_died_is_taken_over_when_its_lease_lapses_and_then_writes_nothing() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.claim(0, &terms("a")), Ok(1));
        assert_eq!(tenure.claim(15_000, &terms("b")), Err(Refused::Held));
        assert_eq!(tenure.claim(15_001, &terms("b")), Ok(2));
        assert!(!tenure.step(15_002, "a", 1, ready()));
        assert!(tenure.step(15_003, "b", 2, ready()));
        assert_eq!(tenure.stage, Stage::Idle);
    }

    #[test]
    fn a_holder_that_is_known_to_be_dead_is_not_waited_for() {
        let mut tenure = Tenure::default();
        tenure.claim(0, &terms("a")).unwrap();
        let knowing = |dead: &str| Terms { dead: Some(dead.into()), ..terms("b") };
        assert_eq!(tenure.claim(1, &knowing("c")), Err(Refused::Held));
        assert_eq!(tenure.claim(1, &knowing("a")), Ok(2));
    }

    #[test]
    fn a_kernel_that_was_left_running_keeps_its_place_for_who_claims_it() {
        let mut tenure = Tenure::default();
        tenure.claim(0, &terms("a")).unwrap();
        tenure.step(1, "a", 1, ready());
        tenure.step(2, "a", 1, Step::CellBegan(7));
        assert!(tenure.step(3, "a", 1, Step::Left));
        assert_eq!(tenure.claim(4, &terms("b")), Ok(2));
        assert_eq!((tenure.was, tenure.cells), (Stage::Busy, 7));
        assert_eq!(tenure.place.as_deref(), Some("/run"));
        // The next one finds it too when this one dies before it is ready.
        assert_eq!(tenure.claim(60_000, &terms("c")), Ok(3));
        assert_eq!(tenure.was, Stage::Busy);
    }

    #[test]
    fn starts_that_fail_are_tried_again_after_ever_longer_waits_and_then_rest() {
        let mut tenure = Tenure::default();
        let mut now = 0;
        for wait in [500, 1000, 2000, 4000] {
            let epoch = tenure.claim(now, &terms("a")).unwrap();
            tenure.step(now, "a", epoch, Step::Failed("no Python".into()));
            assert_eq!(tenure.claim(now, &terms("a")), Err(Refused::NotYet(wait)));
            now += wait;
        }
        let epoch = tenure.claim(now, &terms("a")).unwrap();
        tenure.step(now, "a", epoch, Step::Failed("no Python".into()));
        assert_eq!(tenure.claim(now, &terms("a")), Err(Refused::Resting(60_000)));
        now += 60_000;
        tenure.claim(now, &terms("a")).unwrap();
        assert_eq!(tenure.attempts, 0);
    }

    #[test]
    fn a_stage_is_found_by_its_word() {
        for stage in Stage::ALL {
            assert_eq!(Stage::of(stage.word()), Some(stage));
        }
        assert_eq!(Stage::of("gone"), None);
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Placed("p".into())),
            Just(ready()),
            Just(Step::CellBegan(1)),
            Just(Step::CellEnded),
            Just(Step::Failed("why".into())),
            Just(Step::Gone),
            Just(Step::StartBegan),
            Just(Step::Left),
            Just(Step::Off),
        ]
    }

    proptest! {
        #[test]
        fn two_never_have_it_at_once(deeds in prop::collection::vec((0..3usize, prop::option::of(step()), 0..20_000u64), 0..80)) {
            let mut tenure = Tenure::default();
            let (mut now, mut claims) = (0, [0u64; 3]);
            for (who, deed, later) in deeds {
                now += later;
                let name = who.to_string();
                let before = tenure.clone();
                match deed {
                    None => if let Ok(epoch) = tenure.claim(now, &terms(&name)) {
                        prop_assert!(epoch > before.epoch);
                        claims[who] = epoch;
                    },
                    Some(step) => {
                        let newest = claims.iter().max() == Some(&claims[who]) && claims[who] > 0;
                        let told = tenure.step(now, &name, claims[who], step);
                        prop_assert!(newest || !told, "one who was overtaken wrote");
                        prop_assert!(told || tenure == before);
                    }
                }
            }
        }
    }
}
