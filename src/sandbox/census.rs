//! How many kernels were started, how they ended, and how many cells ran: for who watches the server from
//! outside.
//!
//! One for all users. It knows none of them, and no session: those would make a number of each, without
//! end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::course::Status;
use crate::jail::{Bound, Exit};

/// Why a kernel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Death {
    /// Its process ended itself.
    Itself,
    /// A signal that husk had not sent, for example after a crash.
    Signal,
    /// It used more than it may.
    Over(Bound),
    /// Its init ended without telling.
    Unknown,
    /// It could not be talked to any more.
    Lost,
    /// Its cell heeded no interrupt.
    Unstoppable,
    /// Somebody asked for it.
    Asked,
    /// No cell was run in it for too long.
    Unused,
    /// Its life-time was over.
    Expired,
    /// Another server has its session.
    TakenOver,
    /// The server ended.
    Server,
    /// It waited for a session, and was not fit for one any more.
    Spare,
}

impl Death {
    /// All of them, so that each is told of before it happens.
    const ALL: [Self; 16] = [
        Self::Itself,
        Self::Signal,
        Self::Over(Bound::Memory),
        Self::Over(Bound::Tasks),
        Self::Over(Bound::Workspace),
        Self::Over(Bound::Scratch),
        Self::Over(Bound::Time),
        Self::Unknown,
        Self::Lost,
        Self::Unstoppable,
        Self::Asked,
        Self::Unused,
        Self::Expired,
        Self::TakenOver,
        Self::Server,
        Self::Spare,
    ];

    /// What the end of a process that nobody has ended means.
    pub(super) fn of(exit: Exit) -> Self {
        match exit {
            Exit::Code(_) => Self::Itself,
            Exit::Signal(_) => Self::Signal,
            Exit::Over(over) => Self::Over(over.bound),
            Exit::Unknown => Self::Unknown,
            Exit::Elsewhere => Self::Lost,
        }
    }

    /// As a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Itself => "exit",
            Self::Signal => "signal",
            Self::Over(Bound::Memory) => "memory",
            Self::Over(Bound::Tasks) => "processes",
            Self::Over(Bound::Workspace) => "workspace",
            Self::Over(Bound::Scratch) => "temporary_files",
            Self::Over(Bound::Time) => "processor_time",
            Self::Unknown => "unknown",
            Self::Lost => "lost",
            Self::Unstoppable => "unstoppable",
            Self::Asked => "asked",
            Self::Unused => "unused",
            Self::Expired => "expired",
            Self::TakenOver => "taken_over",
            Self::Server => "server",
            Self::Spare => "spare",
        }
    }
}

/// The counts, each by its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Starts, by what came of them: `ready`, `failed`, or `found` of a kernel that an earlier server had
    /// left.
    pub starts: BTreeMap<&'static str, u64>,
    /// Kernels that have ended, by cause.
    pub deaths: BTreeMap<&'static str, u64>,
    /// Cells that have ended, by their status.
    pub cells: BTreeMap<&'static str, u64>,
}

impl Default for Counted {
    fn default() -> Self {
        let none = |word| (word, 0);
        Self {
            starts: ["ready", "failed", "found"].map(none).into(),
            deaths: Death::ALL.map(Death::word).map(none).into(),
            cells: Status::ALL.map(Status::word).map(none).into(),
        }
    }
}

/// See the module's documentation. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Census(Arc<Mutex<Counted>>);

impl Census {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    #[must_use]
    pub fn look(&self) -> Counted {
        self.counted().clone()
    }

    /// A start has come to its end.
    pub(super) fn started(&self, ready: bool) {
        *self.counted().starts.entry(if ready { "ready" } else { "failed" }).or_default() += 1;
    }

    /// A kernel of an earlier server is gone on with.
    pub(super) fn found(&self) {
        *self.counted().starts.entry("found").or_default() += 1;
    }

    /// A kernel has ended.
    pub(super) fn died(&self, death: Death) {
        *self.counted().deaths.entry(death.word()).or_default() += 1;
    }

    /// A cell has ended.
    pub(super) fn ran(&self, status: Status) {
        *self.counted().cells.entry(status.word()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_and_is_told_before_it_happens() {
        let census = Census::default();
        let before = census.look();
        assert_eq!(before.deaths.len(), Death::ALL.len());
        assert_eq!(before.cells.len(), Status::ALL.len());
        for death in Death::ALL {
            census.died(death);
        }
        for status in Status::ALL {
            census.clone().ran(status);
        }
        census.started(true);
        census.started(false);
        census.found();
        let told = census.look();
        for counts in [&told.deaths, &told.cells, &told.starts] {
            assert!(counts.values().all(|count| *count == 1), "{told:?}");
        }
        assert_eq!(told.deaths.len(), before.deaths.len());
    }
}
