//! Floor 2: sessions, each with one kernel: started once, asked in order, replaced when it dies.
//!
//! [`Sandboxes`] finds or makes the session that a call names and hands the cell over to the task
//! that owns it ([`session`]). What may follow what is decided in [`state`]; how a kernel comes to
//! be in [`launch`]; how a cell that will not end is stopped in [`stop`].

mod course;
pub mod launch;
mod plan;
pub mod python;
pub mod run_folder;
mod session;
mod settings;
pub mod state;
mod stop;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{base::ids::SessionName, kernel::Watch};

pub use course::Status;
pub use session::{Cell, Failed, Outcome, Queued, Snapshot};
pub(crate) use settings::MAX_TIMEOUT;
pub use settings::{CellSettings, LaunchSettings};
pub use stop::Stopped;

use launch::Launcher;
use session::Session;

/// Why a call got no session.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The limit of sessions is reached.
    #[error(
        "no room for the session `{name}`: {count} sessions are open, which is the limit; use one of {open}"
    )]
    Full {
        /// The session asked for.
        name: SessionName,
        /// How many are open.
        count: usize,
        /// Their names.
        open: String,
    },
    /// The server is ending.
    #[error("husk is shutting down")]
    Closing,
    /// The kernel of the session could not be started.
    #[error("{0}")]
    Failed(#[from] Failed),
}

/// All sessions of this server.
pub struct Sandboxes {
    launcher: Arc<Launcher>,
    cells: CellSettings,
    workspace: PathBuf,
    closing: CancellationToken,
    /// Held for look-ups only; `None` once the server ends.
    sessions: Mutex<Option<Open>>,
}

#[derive(Default)]
struct Open {
    by_name: BTreeMap<SessionName, Session>,
    tasks: JoinSet<()>,
}

impl Sandboxes {
    /// No session yet. Kernels start in `workspace`.
    #[must_use]
    pub fn new(launcher: Launcher, cells: CellSettings, workspace: PathBuf) -> Self {
        Self {
            launcher: Arc::new(launcher),
            cells,
            workspace,
            closing: CancellationToken::new(),
            sessions: Mutex::new(Some(Open::default())),
        }
    }

    /// Starts the kernel of session `name` in the background.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no room for it.
    pub fn warm(&self, name: &SessionName) -> Result<(), SandboxError> {
        self.session(name)?.warm();
        Ok(())
    }

    /// Puts a cell into the queue of session `name`. Dropping what is returned stops the cell.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no session.
    pub fn queue(
        &self,
        name: &SessionName,
        cell: Cell,
        watch: Option<Arc<dyn Watch>>,
    ) -> Result<Queued, SandboxError> {
        self.session(name)?.queue(cell, watch)
    }

    /// Runs a cell in session `name`, after those that were queued before. Dropping the future
    /// stops the cell.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no session or its kernel could not be started; a cell that
    /// failed in any way is an [`Outcome`].
    pub async fn run(
        &self,
        name: &SessionName,
        cell: Cell,
        watch: Option<Arc<dyn Watch>>,
    ) -> Result<Outcome, SandboxError> {
        self.queue(name, cell, watch)?.answer().await
    }

    /// How long a cell may run when its call does not say.
    #[must_use]
    pub fn default_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.cells.timeout)
    }

    /// The state of every session, or of the one that is named.
    #[must_use]
    pub fn status(&self, name: Option<&SessionName>) -> Vec<Snapshot> {
        let asked = |key: &SessionName| name.is_none_or(|name| name == key);
        let sessions: Vec<Session> = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let open = sessions.iter().flat_map(|open| &open.by_name);
            open.filter(|(key, _)| asked(key)).map(|(_, session)| session.clone()).collect()
        };
        sessions.iter().map(Session::snapshot).collect()
    }

    /// Ends all kernels and waits until they are gone; new calls are refused from here on.
    pub async fn close(&self) {
        let open = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.closing.cancel();
        if let Some(open) = open {
            let mut tasks = open.tasks;
            // A session whose task broke has dropped its kernel, which kills it.
            while tasks.join_next().await.is_some() {}
        }
    }

    fn session(&self, name: &SessionName) -> Result<Session, SandboxError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.as_mut().ok_or(SandboxError::Closing)?;
        if let Some(session) = open.by_name.get(name) {
            return Ok(session.clone());
        }
        if open.by_name.len() >= self.cells.max_sessions {
            let names: Vec<&str> = open.by_name.keys().map(SessionName::as_str).collect();
            let count = names.len();
            return Err(SandboxError::Full { name: name.clone(), count, open: names.join(", ") });
        }
        let (session, task) = Session::open(
            name.clone(),
            Arc::clone(&self.launcher),
            self.cells.clone(),
            self.workspace.clone(),
            self.closing.clone(),
        );
        open.tasks.spawn(task);
        open.by_name.insert(name.clone(), session.clone());
        Ok(session)
    }
}
