//! A cell as it is at this moment, for who watches: what its record will be once it has ended.

use std::time::{Duration, SystemTime};

use super::{
    cell::{CellRun, Outcome, Phase},
    record,
};
use crate::notebook::document;

impl Outcome {
    /// The number that the kernel gave the cell.
    #[must_use]
    pub fn execution_count(&self) -> Option<u64> {
        self.finished.as_ref().and_then(|finished| finished.execution_count)
    }
}

impl CellRun {
    /// Where it is, or how it ended, in a word: `queued`, `running`, `failed` (its kernel did not start),
    /// `withdrawn` (before it began), or the status of its record.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.phase() {
            Phase::Queued => "queued",
            Phase::Running { .. } => "running",
            Phase::Over(outcome) => outcome.status.word(),
            Phase::Failed(_) => "failed",
            Phase::Dropped => "withdrawn",
        }
    }

    /// When it was handed to the kernel.
    #[must_use]
    pub fn started(&self) -> Option<SystemTime> {
        match self.phase() {
            Phase::Running { since, .. } => SystemTime::now().checked_sub(since.elapsed()),
            Phase::Over(outcome) => Some(outcome.started),
            Phase::Queued | Phase::Failed(_) | Phase::Dropped => None,
        }
    }

    /// How long it has run so far, or ran.
    #[must_use]
    pub fn ran(&self) -> Duration {
        match self.phase() {
            Phase::Running { since, .. } => since.elapsed(),
            Phase::Over(outcome) => outcome.duration,
            Phase::Queued | Phase::Failed(_) | Phase::Dropped => Duration::ZERO,
        }
    }

    /// The cell as a notebook has it, with at most `text` bytes of text and `most` bytes of
    /// representations; before its end without its number and its generation (0). May read from disk.
    #[must_use]
    pub fn document(&self, text: u64, most: u64) -> document::Cell {
        let outcome = match self.phase() {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        };
        let finished = outcome.as_deref().and_then(Outcome::execution_count);
        document::Cell {
            id: self.id(),
            source: self.cell.code.clone(),
            description: self.cell.description.clone(),
            execution_count: finished,
            status: self.word().to_owned(),
            started: self.started().unwrap_or(self.queued_at),
            duration: self.ran(),
            generation: outcome.map_or(0, |outcome| outcome.generation),
            outputs: record::outputs(self, text, most, finished),
        }
    }
}
