//! The life of a session's kernel as a value: which state may follow which, and what is lost.
//!
//! Pure. The task that owns the session reports what happened; this says what it means. Which process
//! may own it is in [`tenure`].

pub mod tenure;

use std::fmt;

/// Where a session's kernel is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// No kernel runs.
    #[default]
    Off,
    /// A kernel is being started.
    Starting,
    /// The kernel waits for a cell.
    Idle,
    /// The kernel runs a cell.
    Busy,
    /// The last start failed; the next call tries again.
    Error(String),
}

impl State {
    /// The state as one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Error(_) => "error",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What happened to a session's kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A start was begun.
    StartBegan,
    /// The kernel answers.
    Ready,
    /// A kernel answers that an earlier server has started; which one of the session it is.
    Found(u64),
    /// The start failed, and why.
    StartFailed(String),
    /// A cell was handed to the kernel.
    CellBegan,
    /// The cell is over and the kernel lives.
    CellEnded,
    /// The kernel is gone, for whatever reason.
    Gone,
}

/// Something was reported that cannot happen in this state: a fault of husk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{happened:?} cannot happen to a session that is {state}")]
pub struct Impossible {
    /// The state.
    pub state: State,
    /// The report.
    pub happened: Happened,
}

/// A session's life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Life {
    /// Where the kernel is.
    pub state: State,
    /// How many kernels this session has had, the present one included; 0 before the first.
    pub generation: u64,
    /// The newest kernel that is gone and in which cells had run; 0 when there is none.
    pub lost: u64,
    /// Whether cells have run in the present kernel.
    used: bool,
}

impl Life {
    /// An earlier server had that many kernels of the session, of which the last is gone; `lost` says
    /// which of them took variables along.
    pub fn follows(&mut self, generation: u64, lost: Option<u64>) {
        self.generation = self.generation.max(generation);
        self.lost = self.lost.max(lost.unwrap_or(0));
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// [`Impossible`]; nothing is changed then.
    pub fn happened(&mut self, happened: Happened) -> Result<(), Impossible> {
        let next = match (&self.state, &happened) {
            (State::Off | State::Error(_), Happened::StartBegan) => State::Starting,
            (State::Starting, Happened::Ready | Happened::Found(_))
            | (State::Busy, Happened::CellEnded) => State::Idle,
            (State::Starting, Happened::StartFailed(why)) => State::Error(why.clone()),
            (State::Idle, Happened::CellBegan) => State::Busy,
            (State::Idle | State::Busy | State::Starting, Happened::Gone) => State::Off,
            _ => return Err(Impossible { state: self.state.clone(), happened }),
        };
        match happened {
            Happened::Ready => {
                self.generation += 1;
                self.used = false;
            }
            Happened::Found(generation) => {
                self.generation = generation;
                self.used = true;
            }
            Happened::CellBegan => self.used = true,
            Happened::Gone if std::mem::take(&mut self.used) => self.lost = self.generation,
            _ => {}
        }
        self.state = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(all: &[Happened]) -> Life {
        let mut life = Life::default();
        for happened in all {
            life.happened(happened.clone()).unwrap();
        }
        life
    }

    #[test]
    fn a_kernel_that_ran_cells_is_a_loss_and_an_unused_one_is_not() {
        use Happened::{CellBegan, CellEnded, Gone, Ready, StartBegan};
        let mut life = after(&[StartBegan, Ready, CellBegan, Gone]);
        assert_eq!(life.lost, 1);
        for next in [StartBegan, Ready, Gone, StartBegan, Ready, CellBegan, CellEnded] {
            life.happened(next).unwrap();
        }
        assert_eq!((life.generation, life.lost), (3, 1));
    }

    #[test]
    fn a_failed_start_can_be_tried_again() {
        use Happened::{Ready, StartBegan, StartFailed};
        let life = after(&[StartBegan, StartFailed("why".into()), StartBegan, Ready]);
        assert_eq!((life.state, life.generation), (State::Idle, 1));
    }

    #[test]
    fn a_kernel_that_is_found_again_is_the_same_one_and_its_end_is_a_loss() {
        use Happened::{Found, Gone, Ready, StartBegan};
        let mut life = after(&[StartBegan, Found(3)]);
        assert_eq!((life.generation, life.lost), (3, 0));
        for next in [Gone, StartBegan, Ready] {
            life.happened(next).unwrap();
        }
        assert_eq!((life.generation, life.lost), (4, 3));
        let mut life = Life::default();
        life.follows(3, Some(3));
        for next in [StartBegan, Ready] {
            life.happened(next).unwrap();
        }
        assert_eq!((life.generation, life.lost), (4, 3));
    }

    fn happened() -> impl Strategy<Value = Happened> {
        prop_oneof![
            Just(Happened::StartBegan),
            Just(Happened::Ready),
            Just(Happened::StartFailed("why".into())),
            (1..9u64).prop_map(Happened::Found),
            Just(Happened::CellBegan),
            Just(Happened::CellEnded),
            Just(Happened::Gone),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_reports_makes_two_kernels_or_runs_a_cell_without_one(all in prop::collection::vec(happened(), 0..60)) {
            let mut life = Life::default();
            let mut alive = false;
            for happened in all {
                let before = life.clone();
                match life.happened(happened.clone()) {
                    Ok(()) => {
                        match happened {
                            Happened::Ready | Happened::Found(_) => { prop_assert!(!alive); alive = true; }
                            Happened::CellBegan | Happened::CellEnded => prop_assert!(alive),
                            Happened::Gone => alive = false,
                            _ => {}
                        }
                    }
                    Err(_) => prop_assert_eq!(&before, &life),
                }
                prop_assert_eq!(alive, matches!(life.state, State::Idle | State::Busy));
            }
        }
    }
}
