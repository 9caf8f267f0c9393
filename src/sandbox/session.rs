//! One session: a task that owns its kernel and takes cells in order, and the handle to ask it.
//!
//! Calls queue in the task's inbox, so that two at once run one after the other; the state is
//! published on a watch channel, so that asking for it never waits for a cell. Who drops a call
//! stops its cell.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    CellSettings, SandboxError,
    course::{self, Bounds, Status},
    launch::{Facts, Kernel, LaunchError, Launcher},
    state::{Happened, Life, State},
    stop::Stopped,
};
use crate::{
    base::ids::SessionName,
    jail::{Exit, Usage},
    kernel::{Finished, Watch},
};

/// A cell to run.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The code.
    pub code: String,
    /// How long it may run; the time in the queue does not count.
    pub timeout: Duration,
}

/// The truth about a cell that was run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The session.
    pub session: SessionName,
    /// The cell's id in the session.
    pub cell: String,
    /// How it ended.
    pub status: Status,
    /// From the hand-over to the kernel until the end.
    pub duration: Duration,
    /// Which kernel of the session it ran in, from 1.
    pub generation: u64,
    /// Whether variables of earlier cells are gone.
    pub state_lost: bool,
    /// What it left.
    pub finished: Option<Finished>,
    /// What it took to stop it.
    pub stopped: Option<Stopped>,
    /// How the kernel died.
    pub exit: Option<Exit>,
    /// Why husk ended the kernel, when it did.
    pub cause: Option<String>,
}

/// A kernel that could not be started. Shared by all calls that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the kernel of session `{session}` could not be started")]
pub struct Failed {
    /// The session.
    pub session: SessionName,
    /// The cause.
    pub source: Arc<LaunchError>,
}

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
    /// Calls that wait behind the one under way.
    pub queued: usize,
    /// Where kernels start.
    pub workspace: PathBuf,
    /// When the last cell began or ended.
    pub last_activity: Option<SystemTime>,
    /// About the kernel that runs.
    pub facts: Option<Facts>,
    /// What it uses at this moment.
    pub usage: Option<Usage>,
}

enum Order {
    Warm,
    Run(Request),
}

struct Request {
    cell: Cell,
    watch: Option<Arc<dyn Watch>>,
    cancelled: CancellationToken,
    answer: oneshot::Sender<Result<Outcome, Failed>>,
}

/// The handle to a session.
#[derive(Clone)]
pub(super) struct Session {
    orders: mpsc::UnboundedSender<Order>,
    snapshot: watch::Receiver<Snapshot>,
    progress: watch::Receiver<String>,
}

impl Session {
    /// The handle, and the task to be spawned.
    pub(super) fn open(
        name: SessionName,
        launcher: Arc<Launcher>,
        settings: CellSettings,
        workspace: PathBuf,
        closing: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let snapshot = Snapshot {
            session: name.clone(),
            state: State::Off,
            generation: 0,
            cells: 0,
            queued: 0,
            workspace,
            last_activity: None,
            facts: None,
            usage: None,
        };
        let (published, snapshot) = watch::channel(snapshot);
        let (says, progress) = watch::channel(String::new());
        let keeper = Keeper {
            name,
            launcher,
            settings,
            closing,
            published,
            says,
            life: Life::default(),
            cells: 0,
            kernel: None,
        };
        (Self { orders, snapshot, progress }, keeper.run(inbox))
    }

    pub(super) fn warm(&self) {
        // A task that has ended is on its way out with the server.
        let _ = self.orders.send(Order::Warm);
    }

    /// Puts a cell behind those that wait.
    pub(super) fn queue(
        &self,
        cell: Cell,
        watch: Option<Arc<dyn Watch>>,
    ) -> Result<Queued, SandboxError> {
        let cancelled = CancellationToken::new();
        let (answer, answered) = oneshot::channel();
        let stops = cancelled.clone().drop_guard();
        let request = Request { cell, watch: watch.clone(), cancelled, answer };
        self.orders.send(Order::Run(request)).map_err(|_| SandboxError::Closing)?;
        let mut progress = self.progress.clone();
        // The last line of an earlier start says nothing to this call.
        if self.snapshot.borrow().state != State::Starting {
            progress.mark_unchanged();
        }
        Ok(Queued { answered, progress, watch, _stops: stops })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot.borrow().clone();
        snapshot.usage =
            snapshot.facts.as_ref().and_then(|facts| facts.init_pid).and_then(Usage::below);
        snapshot
    }
}

/// A cell that waits or runs. Dropping it stops the cell.
pub struct Queued {
    answered: oneshot::Receiver<Result<Outcome, Failed>>,
    progress: watch::Receiver<String>,
    watch: Option<Arc<dyn Watch>>,
    _stops: DropGuard,
}

impl Queued {
    /// The cell's end; meanwhile tells what takes long.
    ///
    /// # Errors
    /// [`SandboxError`] when its kernel could not be started, or the server ends.
    pub async fn answer(mut self) -> Result<Outcome, SandboxError> {
        loop {
            tokio::select! {
                answer = &mut self.answered => {
                    return Ok(answer.map_err(|_| SandboxError::Closing)??);
                }
                Ok(()) = self.progress.changed() => if let Some(watch) = &self.watch {
                    watch.note(&self.progress.borrow_and_update());
                },
            }
        }
    }
}

/// The task that owns a session's kernel.
struct Keeper {
    name: SessionName,
    launcher: Arc<Launcher>,
    settings: CellSettings,
    closing: CancellationToken,
    published: watch::Sender<Snapshot>,
    says: watch::Sender<String>,
    life: Life,
    cells: u64,
    kernel: Option<Kernel>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let closing = self.closing.clone();
        loop {
            let order = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                end = idle_end(self.kernel.as_ref()) => {
                    tracing::warn!(session = %self.name, end, "an idle kernel is gone");
                    self.gone();
                    continue;
                }
                order = inbox.recv() => order,
            };
            self.publish(|snapshot| snapshot.queued = inbox.len());
            match order {
                Some(Order::Warm) => drop(self.ready().await),
                Some(Order::Run(request)) => self.serve(request).await,
                None => break,
            }
        }
        if let Some(kernel) = self.kernel.take() {
            kernel.end().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        let Request { cell, watch, cancelled, answer } = request;
        // Its caller gave up while it waited in the queue: it never runs.
        if cancelled.is_cancelled() {
            return;
        }
        if let Err(failed) = self.ready().await {
            let _ = answer.send(Err(failed));
            return;
        }
        // Nor one whose caller gave up while the kernel started.
        if cancelled.is_cancelled() {
            return;
        }
        // Whoever gave up meanwhile does not read the answer.
        let Some(outcome) = self.execute(cell, watch, &cancelled).await else { return };
        let died = self.kernel.is_none();
        let told_loss = outcome.state_lost;
        if answer.send(Ok(outcome)).is_err() && told_loss {
            self.life.not_told();
        }
        if died && !self.closing.is_cancelled() {
            // The next call shall find a kernel; when the start fails, it is told why.
            drop(self.ready().await);
        }
    }

    /// Sees to it that a kernel runs.
    async fn ready(&mut self) -> Result<(), Failed> {
        if self.kernel.is_some() {
            return Ok(());
        }
        self.happened(Happened::StartBegan);
        let workspace = self.published.borrow().workspace.clone();
        let launched = tokio::select! {
            launched = self.launcher.launch(&self.name, &workspace, &self.says) => launched,
            () = self.closing.cancelled() => Err(LaunchError::Closing),
        };
        match launched {
            Ok(kernel) => {
                let facts = kernel.facts.clone();
                self.kernel = Some(kernel);
                self.happened(Happened::Ready);
                self.publish(|snapshot| snapshot.facts = Some(facts));
                Ok(())
            }
            Err(error) => {
                self.happened(Happened::StartFailed(error.to_string()));
                Err(Failed { session: self.name.clone(), source: Arc::new(error) })
            }
        }
    }

    async fn execute(
        &mut self,
        cell: Cell,
        watch: Option<Arc<dyn Watch>>,
        cancelled: &CancellationToken,
    ) -> Option<Outcome> {
        self.happened(Happened::CellBegan);
        self.cells += 1;
        let begun = Instant::now();
        let kernel = self.kernel.as_ref()?;
        let execution = kernel.client.execute(cell.code, watch);
        let grace = Duration::from_secs_f64(self.settings.interrupt_grace);
        let bounds = Bounds { timeout: cell.timeout, grace, cancelled, closing: &self.closing };
        let end = course::until_the_end(kernel, execution, bounds).await;
        let generation = self.life.generation;
        if end.dead() {
            self.gone();
        } else {
            self.happened(Happened::CellEnded);
        }
        Some(Outcome {
            session: self.name.clone(),
            cell: format!("c{}", self.cells),
            status: end.status,
            duration: begun.elapsed(),
            generation,
            state_lost: self.life.tell_loss(end.dead()),
            finished: end.finished,
            stopped: end.stopped,
            exit: end.exit,
            cause: end.cause,
        })
    }

    fn gone(&mut self) {
        self.kernel = None;
        self.happened(Happened::Gone);
        self.publish(|snapshot| snapshot.facts = None);
    }

    fn happened(&mut self, happened: Happened) {
        if let Err(error) = self.life.happened(happened) {
            tracing::error!(%error, "a fault in husk");
        }
        let (state, generation, cells) =
            (self.life.state.clone(), self.life.generation, self.cells);
        self.publish(|snapshot| {
            snapshot.state = state;
            snapshot.generation = generation;
            snapshot.cells = cells;
            snapshot.last_activity = Some(SystemTime::now());
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        self.published.send_modify(change);
    }
}

/// Resolves when the kernel, if there is one, has died or cannot be talked to any more; how it
/// ended. It is dead then.
async fn idle_end(kernel: Option<&Kernel>) -> String {
    let Some(kernel) = kernel else { return std::future::pending().await };
    tokio::select! {
        exit = kernel.process.exited() => exit.to_string(),
        gone = kernel.client.gone() => {
            kernel.process.killed().await;
            gone.to_string()
        }
    }
}
