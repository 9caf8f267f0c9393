//! Whom a cell runs for: the calls that wait for it as their own.
//!
//! A cell that every one of them has given up is stopped; one that a call was told goes on is not, for
//! from then on it runs for whoever asks. A call that was sent twice claims the same cell as the first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{cell::CellRun, course::Stop};

/// The claims on a cell.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    count: usize,
    /// A call was told that it goes on.
    kept: bool,
    /// The last claim was given up.
    given_up: bool,
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, unless the cell is on its way out.
    pub(super) fn join(&self) -> bool {
        let mut held = self.held();
        held.count += usize::from(!held.given_up);
        !held.given_up
    }
}

/// That a call waits for a cell as its own. Dropped without being kept, it is given up.
pub struct Claim {
    run: Arc<CellRun>,
    /// Whether it counts: a cell that is over needs nobody.
    counts: bool,
}

impl Claim {
    /// A claim that was joined.
    pub(super) fn joined(run: Arc<CellRun>) -> Self {
        Self { run, counts: true }
    }

    /// A look at a cell that goes its way whatever its callers do.
    pub(super) fn none(run: Arc<CellRun>) -> Self {
        Self { run, counts: false }
    }

    /// The claim of a call that comes back to its cell.
    #[must_use]
    pub fn again(run: &Arc<CellRun>) -> Self {
        Self { counts: run.claims.join(), run: Arc::clone(run) }
    }

    /// The cell.
    #[must_use]
    pub fn run(&self) -> &Arc<CellRun> {
        &self.run
    }

    /// The call is going to come back: until then nobody can give the cell up.
    pub fn pause(mut self) {
        if std::mem::take(&mut self.counts) {
            self.run.claims.held().count -= 1;
        }
    }

    /// The call has its answer: the cell goes on without it.
    pub fn keep(mut self) {
        if std::mem::take(&mut self.counts) {
            let mut held = self.run.claims.held();
            held.count -= 1;
            held.kept = true;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let mut held = self.run.claims.held();
        held.count -= 1;
        let last = held.count == 0 && !held.kept;
        held.given_up |= last;
        drop(held);
        if last {
            self.run.stop(Stop::Cancelled);
        }
    }
}
