//! Writes a session's cells down: each at its end, and again when something comes of it late.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::broadcast;

use super::{
    Change,
    cell::{CellRun, Outcome},
    record::Record,
};
use crate::base::{causes, ids::SessionName};

/// How many cells are written again when something comes of them late; the kernel's task listens to
/// as many.
const LISTENED_TO: usize = 64;

/// See the module's documentation.
pub(super) struct Scribe {
    session: SessionName,
    record: Record,
    changes: broadcast::Sender<Change>,
    written: VecDeque<Written>,
}

/// A cell in the notebook.
struct Written {
    run: Arc<CellRun>,
    outcome: Arc<Outcome>,
    /// Of its output, as it is there.
    version: u64,
}

impl Scribe {
    pub(super) fn new(
        session: SessionName,
        record: Record,
        changes: broadcast::Sender<Change>,
    ) -> Self {
        Self { session, record, changes, written: VecDeque::new() }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Writes a cell down that has ended; what is to be told of it.
    pub(super) async fn write(&mut self, run: &Arc<CellRun>, mut outcome: Outcome) -> Arc<Outcome> {
        let version = run.output.version();
        let told = Arc::new(outcome.clone());
        let told = match self.put(run, &told).await {
            None => told,
            Some(fault) => {
                outcome.unrecorded = Some(fault);
                Arc::new(outcome)
            }
        };
        if self.written.len() == LISTENED_TO {
            self.written.pop_front();
        }
        let written = Written { run: Arc::clone(run), outcome: Arc::clone(&told), version };
        self.written.push_back(written);
        told
    }

    /// Writes what cells have put out after their ends.
    pub(super) async fn write_late(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        for Written { run, outcome, version } in &mut written {
            let now = run.output.version();
            if now != *version
                && let Some(fault) = self.put(run, outcome).await
            {
                tracing::warn!(fault, cell = run.id(), "late output is not recorded");
            }
            *version = now;
        }
        self.written = written;
    }

    /// Why it could not be written, when it could not.
    async fn put(&self, run: &Arc<CellRun>, outcome: &Arc<Outcome>) -> Option<String> {
        let (record, run, outcome) = (self.record.clone(), Arc::clone(run), Arc::clone(outcome));
        let put = tokio::task::spawn_blocking(move || record.cell(&run, &outcome)).await;
        match put {
            Ok(Ok(())) => {
                // Mostly nobody wants to be told.
                let _ = self.changes.send(Change::Notebook(self.session.clone()));
                None
            }
            Ok(Err(error)) => Some(causes::told(&error, ": ")),
            Err(error) => Some(error.to_string()),
        }
    }
}
