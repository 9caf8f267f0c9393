//! The handle to a session: its queue, its cells, its state. The kernel's owner is [`super::keeper`].
//!
//! Calls queue in the keeper's inbox, so that two at once run one after the other; the state is
//! published on a watch channel, so that asking for it never waits for a cell.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    CellSettings, Change, SandboxError, Source,
    cell::{Cell, CellRun, Listener, Outcome, Phase},
    claim::Claim,
    course::Stop,
    inspect::{self, InspectError, Subshell},
    keeper::Keeper,
    launch::{LaunchError, Launcher},
    left::Policy,
    lodging::{Keeping, Lodging},
    record::Record,
    registry::Key,
    scribe::Scribe,
    shown::{Shown, Snapshot},
};
use crate::{
    base::ids::SessionName,
    guard::dedup::once::{Execution, Found, Identity, Once},
    jail::Usage,
    notebook::record::RecordError,
};

/// How many cells a session remembers.
const REMEMBERED: usize = 1000;

/// A kernel that could not be started. Shared by all calls that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the kernel of session `{session}` could not be started")]
pub struct Failed {
    /// The session.
    pub session: SessionName,
    /// The cause.
    pub source: Arc<LaunchError>,
}

/// What the keeper is asked.
pub(super) enum Order {
    Warm,
    Run(Arc<CellRun>),
}

/// The kernel is to be ended.
pub(super) struct Restart {
    /// Whether a fresh one follows; otherwise the session has none until its next cell.
    pub(super) fresh: bool,
    /// Where kernels come from from now on, if that changes.
    pub(super) source: Option<Source>,
    /// The generation of the kernel that runs then, or ran last.
    pub(super) answer: oneshot::Sender<Result<u64, Failed>>,
}

/// The handle to a session.
#[derive(Clone)]
pub(super) struct Session(Arc<Inner>);

struct Inner {
    name: SessionName,
    orders: mpsc::UnboundedSender<Order>,
    restarts: mpsc::UnboundedSender<Restart>,
    shown: Arc<Shown>,
    most_queued: usize,
    /// Newest last. Held for look-ups only.
    cells: Mutex<Cells>,
    /// The newest loss of variables that an answer has told.
    told_loss: AtomicU64,
    subshell: Subshell,
    /// Held for look-ups only.
    source: Mutex<Source>,
    record: Option<Record>,
}

struct Cells {
    given: u64,
    all: VecDeque<Arc<CellRun>>,
    /// How long those ran that are not remembered any more.
    ran: Duration,
    once: Once<Arc<CellRun>>,
}

/// How a call comes to its cell.
pub struct Attended {
    /// The cell, claimed.
    pub claim: Claim,
    /// Whether another call has begun it.
    pub shared: bool,
}

impl Attended {
    fn found(found: Found<Arc<CellRun>>) -> Option<Self> {
        match found {
            Found::Joined(run) => Some(Self { claim: Claim::joined(run), shared: true }),
            Found::Replayed(run) => Some(Self { claim: Claim::none(run), shared: true }),
            Found::New | Found::KeyReused => None,
        }
    }
}

impl Cells {
    fn remember(&mut self, call: Option<&Identity>, run: &Arc<CellRun>) {
        if let Some(call) = call {
            self.once.begin(*call, Arc::clone(run));
        }
        // A cell that is not over is not forgotten, however many wait.
        if self.all.len() >= REMEMBERED
            && let Some(at) = self.all.iter().position(|run| run.is_over())
            && let Some(forgotten) = self.all.remove(at)
        {
            self.ran += forgotten.ran();
        }
        self.all.push_back(Arc::clone(run));
    }
}

impl Session {
    /// The handle, and the task to be spawned.
    pub(super) fn open(
        name: SessionName,
        source: Source,
        launcher: Arc<Launcher>,
        settings: CellSettings,
        workspace: PathBuf,
        (keeping, closing): (Option<Keeping>, CancellationToken),
        changes: broadcast::Sender<Change>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (restarts, restarting) = mpsc::unbounded_channel();
        let private = launcher.private.clone();
        let record = Record::new(&launcher.notebook, private, &name, &workspace);
        let shown = Arc::new(Shown::new(name.clone(), workspace, &launcher, changes.clone()));
        let replay = Duration::from_secs(settings.replay_seconds);
        let inner = Inner {
            name: name.clone(),
            orders,
            restarts,
            shown: Arc::clone(&shown),
            most_queued: settings.max_queued,
            cells: Mutex::new(Cells {
                given: 0,
                all: VecDeque::new(),
                ran: Duration::ZERO,
                once: Once::new(replay),
            }),
            told_loss: AtomicU64::new(0),
            subshell: Subshell::default(),
            source: Mutex::new(source.clone()),
            record: record.clone(),
        };
        let scribe = record.map(|record| Scribe::new(name.clone(), record, changes));
        let key = Key::new(&shown.snapshot.borrow().workspace, name.clone());
        let lodging = Lodging::new(keeping, key, Policy::of(&launcher, &source));
        let bounds = (settings, closing);
        let keeper =
            Keeper::new((name, source), (launcher, lodging), bounds, shown, restarting, scribe);
        (Self(Arc::new(inner)), keeper.run(inbox))
    }

    /// Where its kernel comes from.
    pub(super) fn source(&self) -> Source {
        self.0.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn warm(&self) {
        // A task that has ended is on its way out with the server.
        let _ = self.0.orders.send(Order::Warm);
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of a call that was seen before, if it goes on or may be told again.
    pub(super) fn twin(&self, call: &Identity) -> Option<Attended> {
        Attended::found(self.cells().once.find(call, Instant::now()))
    }

    /// Puts a cell behind those that wait, unless the call was seen before.
    pub(super) fn queue(
        &self,
        call: Option<&Identity>,
        cell: Cell,
        listener: Option<&Arc<dyn Listener>>,
    ) -> Result<Attended, SandboxError> {
        let mut cells = self.cells();
        let session = || self.0.name.clone();
        let found = call.map_or(Found::New, |call| cells.once.find(call, Instant::now()));
        if matches!(found, Found::KeyReused) {
            return Err(SandboxError::KeyReused { session: session() });
        }
        if let Some(attended) = Attended::found(found) {
            return Ok(attended);
        }
        let ahead = cells.all.iter().filter(|run| !run.is_over()).count();
        if ahead > self.0.most_queued {
            let waiting = ahead.saturating_sub(1);
            return Err(SandboxError::QueueFull { session: session(), waiting });
        }
        cells.given += 1;
        let run = Arc::new(CellRun::new(session(), cells.given, cell, &self.0.shown));
        if let Some(listener) = listener {
            run.listen(listener);
        }
        run.join();
        self.0.orders.send(Order::Run(Arc::clone(&run))).map_err(|_| SandboxError::Closing)?;
        cells.remember(call, &run);
        drop(cells);
        run.announce();
        Ok(Attended { claim: Claim::joined(run), shared: false })
    }

    /// How long the cells have run, all together.
    pub(super) fn ran(&self) -> Duration {
        let cells = self.cells();
        cells.all.iter().map(|run| run.ran()).fold(cells.ran, Duration::saturating_add)
    }

    /// The cell of that number.
    pub(super) fn cell(&self, id: &str) -> Option<Arc<CellRun>> {
        self.all_cells().into_iter().rev().find(|run| run.id() == id)
    }

    /// All cells that are remembered, oldest first.
    pub(super) fn all_cells(&self) -> Vec<Arc<CellRun>> {
        let earlier = self.0.shown.earlier.borrow().clone();
        earlier.into_iter().chain(self.cells().all.iter().cloned()).collect()
    }

    /// How many cells run before this one.
    pub(super) fn ahead(&self, run: &CellRun) -> usize {
        let before = |other: &&Arc<CellRun>| other.number < run.number && !other.is_over();
        self.all_cells().iter().filter(before).count()
    }

    /// The cell under way.
    pub(super) fn running(&self) -> Option<Arc<CellRun>> {
        let running = |run: &Arc<CellRun>| matches!(run.phase(), Phase::Running { .. });
        self.all_cells().into_iter().find(running)
    }

    /// Cells other than `run` that have put something out after the answer that told their end.
    pub(super) fn late(&self, run: &CellRun) -> Vec<Arc<CellRun>> {
        let late = |other: &&Arc<CellRun>| {
            other.number != run.number && other.end_was_told() && other.output.has_news()
        };
        self.all_cells().iter().filter(late).cloned().collect()
    }

    /// Whether this outcome is the first to be told that tells of a loss of variables.
    pub(super) fn tells_loss(&self, outcome: &Outcome) -> bool {
        // The answer to the cell that lost them says so, and so does the first one of the next kernel.
        if outcome.exit.is_some() {
            return outcome.lost > 0;
        }
        self.0.told_loss.fetch_max(outcome.lost, Ordering::Relaxed) < outcome.lost
    }

    /// Ends the kernel, whatever it does, and starts a fresh one, if that is wanted, which may come from
    /// another source; the generation.
    pub(super) async fn restart(
        &self,
        fresh: bool,
        source: Option<Source>,
    ) -> Result<u64, SandboxError> {
        if matches!(self.source(), Source::File(_)) {
            return Err(SandboxError::Foreign { name: self.0.name.clone() });
        }
        let (answer, answered) = oneshot::channel();
        self.0
            .restarts
            .send(Restart { fresh, source: source.clone(), answer })
            .map_err(|_| SandboxError::Closing)?;
        if let Some(run) = self.running() {
            run.stop(Stop::Restarted);
        }
        let generation = answered.await.map_err(|_| SandboxError::Closing)??;
        if let Some(source) = source {
            *self.0.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
        }
        Ok(generation)
    }

    /// The session's notebook; nothing before its first cell, or when none is kept. Blocks.
    pub(super) fn notebook(&self) -> Option<Result<String, RecordError>> {
        self.0.record.as_ref()?.text()
    }

    /// Looks at one variable, or at all.
    pub(super) async fn inspect(
        &self,
        variable: Option<&str>,
        wait: Duration,
    ) -> Result<Value, InspectError> {
        let asked = self.0.shown.asked.borrow().clone();
        let facts = self.0.shown.snapshot.borrow().facts.clone();
        let (Some(asked), Some(facts)) = (asked, facts) else {
            return Err(InspectError::NoKernel(self.0.name.to_string()));
        };
        let running = self.running();
        inspect::look(&asked, &facts, running.as_deref(), &self.0.subshell, variable, wait).await
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.shown.snapshot.borrow().clone();
        let cells = self.cells();
        let waits = |run: &&Arc<CellRun>| matches!(run.phase(), Phase::Queued);
        snapshot.queued = cells.all.iter().filter(waits).count();
        drop(cells);
        snapshot.running = self.running().map(|run| run.id());
        snapshot.notebook = self.0.record.as_ref().and_then(Record::path);
        snapshot.usage =
            snapshot.facts.as_ref().and_then(|facts| facts.init_pid).and_then(Usage::below);
        snapshot
    }
}
