//! Floor 2: sessions, each with one kernel: started once, asked in order, replaced when it dies.
//!
//! [`Sandboxes`] finds or makes the session that a call names and hands the cell over to the task
//! that owns it ([`session`]). What may follow what is decided in [`state`]; how a kernel comes to
//! be in [`launch`]; how a cell that will not end is stopped in [`stop`].

pub mod asking;
mod attach;
mod body;
mod cell;
pub mod census;
mod change;
mod claim;
mod clock;
mod course;
mod elsewhere;
mod error;
pub mod facts;
mod failure;
mod inspect;
pub mod isolate;
mod keeper;
pub mod launch;
mod left;
mod lodging;
mod look;
mod now;
mod plan;
pub mod pool;
mod program;
mod programs;
pub mod python;
mod reach;
pub mod reaper;
mod record;
pub mod registry;
#[cfg(feature = "gateway")]
pub mod remote;
pub mod room;
pub mod run_folder;
mod scribe;
pub mod servers;
pub mod service;
mod session;
mod settings;
mod shown;
pub mod state;
mod stop;
pub mod tenancy;
mod trusted;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{base::ids::SessionName, guard::dedup::once::Identity};

pub use attach::Source;
pub use cell::{Cell, CellRun, Listener, Outcome, Phase};
pub use change::Change;
pub use claim::Claim;
pub use course::{Status, Stop};
pub use error::SandboxError;
pub use inspect::InspectError;
pub use lodging::Keeping;
pub use session::{Attended, Failed};
pub use settings::{CellSettings, LaunchSettings, SessionSettings};
pub(crate) use settings::{MAX_TIMEOUT, PATIENCE};
pub use shown::Snapshot;
pub use stop::Stopped;

use launch::Launcher;
use session::Session;

/// How many changes a slow reader may be behind before it is only told that there were some.
const CHANGES: usize = 256;

/// All sessions of this server.
pub struct Sandboxes {
    launcher: Arc<Launcher>,
    cells: CellSettings,
    workspace: PathBuf,
    /// The session that is attached to a kernel which somebody else started.
    attached: Option<(SessionName, PathBuf)>,
    /// How named sessions are kept, and the session that has no name which others know.
    keeping: Option<Keeping>,
    unnamed: Option<SessionName>,
    closing: CancellationToken,
    changes: broadcast::Sender<Change>,
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
            attached: None,
            keeping: None,
            unnamed: None,
            closing: CancellationToken::new(),
            changes: broadcast::Sender::new(CHANGES),
            sessions: Mutex::new(Some(Open::default())),
        }
    }

    /// Session `name` talks to the kernel of that connection file.
    #[must_use]
    pub fn attached(mut self, name: SessionName, file: PathBuf) -> Self {
        self.attached = Some((name, file));
        self
    }

    /// Sessions are kept for later servers, all but `unnamed`.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping, unnamed: Option<SessionName>) -> Self {
        (self.keeping, self.unnamed) = (Some(keeping), unnamed);
        self
    }

    /// How those of that name and source are kept.
    fn keeping_of(&self, name: &SessionName, source: &Source) -> Option<Keeping> {
        let others = self.unnamed.as_ref() != Some(name)
            && !matches!(source, Source::File(_))
            // Nobody there would end a kernel that waits too long.
            && !self.launcher.is_elsewhere();
        self.keeping.clone().filter(|_| others)
    }

    fn source_of(&self, name: &SessionName) -> Source {
        match &self.attached {
            Some((attached, file)) if attached == name => Source::File(file.clone()),
            _ => Source::Settings,
        }
    }

    /// Starts the kernel of session `name` in the background.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no room for it.
    pub fn warm(&self, name: &SessionName) -> Result<(), SandboxError> {
        self.session(name, None)?.warm();
        Ok(())
    }

    /// The cell of a call that was seen before, if it goes on or may be told again.
    #[must_use]
    pub fn twin(&self, name: &SessionName, call: &Identity) -> Option<Attended> {
        self.open(name).ok()?.twin(call)
    }

    /// Puts a cell into the queue of session `name`, whose kernel is of `source` if that is given;
    /// unless the call was seen before: then its cell is that call's.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no session, or no room in its queue.
    pub fn queue(
        &self,
        name: &SessionName,
        source: Option<&Source>,
        call: Option<&Identity>,
        cell: Cell,
        listener: Option<&Arc<dyn Listener>>,
    ) -> Result<Attended, SandboxError> {
        self.session(name, source)?.queue(call, cell, listener)
    }

    /// Runs a cell to its end, which may be of any kind.
    ///
    /// # Errors
    /// As [`Self::queue`], or when the kernel could not be started.
    pub async fn run(&self, name: &SessionName, cell: Cell) -> Result<Arc<Outcome>, SandboxError> {
        let attended = self.queue(name, None, None, cell, None)?;
        match attended.claim.run().over().await {
            Phase::Over(outcome) => Ok(outcome),
            phase => Err(CellRun::not_run(&phase).unwrap_or(SandboxError::Dropped)),
        }
    }

    /// How long the cells of a session have run, all together.
    #[must_use]
    pub fn ran(&self, name: &SessionName) -> Duration {
        self.open(name).map(|session| session.ran()).unwrap_or_default()
    }

    /// A cell of a session by its id.
    ///
    /// # Errors
    /// [`SandboxError::NoSession`], [`SandboxError::NoCell`].
    pub fn cell(&self, name: &SessionName, id: &str) -> Result<Arc<CellRun>, SandboxError> {
        let session = self.open(name)?;
        session.cell(id).ok_or_else(|| {
            let all = session.all_cells();
            let has = match (all.first(), all.last()) {
                (Some(first), Some(last)) => format!("{} to {}", first.id(), last.id()),
                _ => "none yet".to_owned(),
            };
            SandboxError::NoCell { session: name.clone(), cell: id.chars().take(40).collect(), has }
        })
    }

    /// All cells of a session that are remembered, oldest first; none of an unknown session.
    #[must_use]
    pub fn cells(&self, name: &SessionName) -> Vec<Arc<CellRun>> {
        self.open(name).map(|session| session.all_cells()).unwrap_or_default()
    }

    /// How many cells run before this one.
    #[must_use]
    pub fn ahead(&self, run: &CellRun) -> usize {
        self.open(&run.session).map_or(0, |session| session.ahead(run))
    }

    /// Other cells of its session that have put something out after the answers that told their ends.
    #[must_use]
    pub fn late(&self, run: &CellRun) -> Vec<Arc<CellRun>> {
        self.open(&run.session).map(|session| session.late(run)).unwrap_or_default()
    }

    /// Whether the answer with this outcome is one that has to tell of lost variables.
    #[must_use]
    pub fn tells_loss(&self, run: &CellRun, outcome: &Outcome) -> bool {
        self.open(&run.session).is_ok_and(|session| session.tells_loss(outcome))
    }

    /// Interrupts the cell under way, and waits until it has ended; nothing where none is.
    ///
    /// # Errors
    /// [`SandboxError::NoSession`].
    pub async fn interrupt(
        &self,
        name: &SessionName,
    ) -> Result<Option<Arc<CellRun>>, SandboxError> {
        let Some(run) = self.open(name)?.running() else { return Ok(None) };
        run.stop(Stop::Interrupted);
        run.over().await;
        Ok(Some(run))
    }

    /// Ends the kernel of a session, whatever it does, and starts a fresh one; its generation.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no such session, or its kernel does not start.
    pub async fn restart(&self, name: &SessionName) -> Result<u64, SandboxError> {
        self.open(name)?.restart(true, None).await
    }

    /// The same for a session that may not be open yet: the kernel that an earlier server has left of
    /// it is ended, too. From `source`, if that is given, its kernels come from now on.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no room for it, or its kernel does not start.
    pub async fn reset(
        &self,
        name: &SessionName,
        source: Option<Source>,
    ) -> Result<u64, SandboxError> {
        self.session(name, None)?.restart(true, source).await
    }

    /// Ends the kernel of a session, whatever it does; the next cell starts a fresh one.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no such session.
    pub async fn stop(&self, name: &SessionName) -> Result<(), SandboxError> {
        self.open(name)?.restart(false, None).await.map(drop)
    }

    /// How long a call waits for its cell, where a setting says.
    #[must_use]
    pub fn default_wait(&self) -> Option<Duration> {
        self.cells.wait.map(Duration::from_secs_f64)
    }

    /// Tells what changes from here on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// How long a cell may run when its call does not say.
    #[must_use]
    pub fn default_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.cells.timeout)
    }

    /// How long the answer of a call that is over can be told again.
    #[must_use]
    pub fn replay(&self) -> Duration {
        Duration::from_secs(self.cells.replay_seconds)
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

    /// The session of that name, if it is open.
    fn open(&self, name: &SessionName) -> Result<Session, SandboxError> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.as_ref().ok_or(SandboxError::Closing)?;
        open.by_name.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = open.by_name.keys().map(SessionName::as_str).collect();
            SandboxError::NoSession { name: name.to_string(), open: names.join(", ") }
        })
    }

    /// The session of that name, opened if it is not.
    fn session(
        &self,
        name: &SessionName,
        source: Option<&Source>,
    ) -> Result<Session, SandboxError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.as_mut().ok_or(SandboxError::Closing)?;
        if let Some(session) = open.by_name.get(name) {
            return match source {
                Some(asked) if *asked != session.source() => Err(SandboxError::OtherKernel {
                    name: name.clone(),
                    has: session.source(),
                    asked: asked.clone(),
                }),
                _ => Ok(session.clone()),
            };
        }
        if open.by_name.len() >= self.cells.max_sessions {
            let names: Vec<&str> = open.by_name.keys().map(SessionName::as_str).collect();
            let count = names.len();
            return Err(SandboxError::Full { name: name.clone(), count, open: names.join(", ") });
        }
        let source = source.cloned().unwrap_or_else(|| self.source_of(name));
        let keeping = self.keeping_of(name, &source);
        let (session, task) = Session::open(
            name.clone(),
            source,
            Arc::clone(&self.launcher),
            self.cells.clone(),
            self.workspace.clone(),
            (keeping, self.closing.clone()),
            self.changes.clone(),
        );
        if open.by_name.is_empty() && self.launcher.pools() {
            let (launcher, workspace) = (Arc::clone(&self.launcher), self.workspace.clone());
            open.tasks.spawn(pool::tend(launcher, workspace, self.closing.clone()));
        }
        open.tasks.spawn(task);
        open.by_name.insert(name.clone(), session.clone());
        // Mostly nobody wants to be told.
        let _ = self.changes.send(Change::Sessions);
        Ok(session)
    }
}
