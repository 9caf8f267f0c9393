//! What a session shows of itself while its keeper works.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{broadcast, watch};

use super::{Change, cell::CellRun, facts::Facts, inspect::Asked, launch::Launcher, state::State};
use crate::{
    base::ids::SessionName,
    jail::Usage,
    kernel::output::{self, Output, Spool},
};

/// What a session looks like from outside.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub session: SessionName,
    /// Where its kernel is.
    pub state: State,
    /// How many kernels it has had.
    pub generation: u64,
    /// Cells that were run.
    pub cells: u64,
    /// The cell under way.
    pub running: Option<String>,
    /// Cells that wait behind the one under way.
    pub queued: usize,
    /// Where kernels start.
    pub workspace: PathBuf,
    /// Where the session is recorded.
    pub notebook: Option<PathBuf>,
    /// When the last cell began or ended.
    pub last_activity: Option<SystemTime>,
    /// About the kernel that runs.
    pub facts: Option<Facts>,
    /// How long the kernel outlives its server.
    pub keep: Duration,
    /// Why it is this server's own, where others may want the session.
    pub own: Option<String>,
    /// What it uses at this moment.
    pub usage: Option<Usage>,
}

/// What a session shows of itself while its keeper works.
pub(super) struct Shown {
    pub(super) snapshot: watch::Sender<Snapshot>,
    /// What takes long at a start.
    pub(super) says: watch::Sender<String>,
    /// The kernel that runs, for who asks it beside its cells.
    pub(super) asked: watch::Sender<Option<Asked>>,
    /// The cell that an earlier server had begun in it.
    pub(super) earlier: watch::Sender<Option<Arc<CellRun>>>,
    /// Tells who wants to know that something is different.
    pub(super) changes: broadcast::Sender<Change>,
    output: output::Settings,
    spool: Arc<Spool>,
}

impl Shown {
    /// Of a session without a kernel.
    pub(super) fn new(
        session: SessionName,
        workspace: PathBuf,
        launcher: &Launcher,
        changes: broadcast::Sender<Change>,
    ) -> Self {
        let snapshot = Snapshot {
            session,
            state: State::Off,
            generation: 0,
            cells: 0,
            running: None,
            queued: 0,
            workspace,
            notebook: None,
            last_activity: None,
            facts: None,
            keep: Duration::ZERO,
            own: None,
            usage: None,
        };
        let spool = Spool::new(launcher.private.clone(), launcher.output.max_kept_bytes);
        Self {
            snapshot: watch::Sender::new(snapshot),
            says: watch::Sender::new(String::new()),
            asked: watch::Sender::new(None),
            earlier: watch::Sender::new(None),
            changes,
            output: launcher.output,
            spool: Arc::new(spool),
        }
    }

    /// Takes what a cell puts out.
    pub(super) fn output(&self) -> Arc<Output> {
        Arc::new(Output::new(self.output, Arc::clone(&self.spool)))
    }

    /// What takes long at a start, as it is said.
    pub(super) fn says(&self) -> watch::Receiver<String> {
        let mut says = self.says.subscribe();
        // The last line of an earlier start says nothing to this call.
        if self.snapshot.borrow().state == State::Starting && !says.borrow().is_empty() {
            says.mark_changed();
        }
        says
    }
}
