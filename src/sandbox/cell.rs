//! A cell from the queue to its end and beyond, shared by who runs it and who asks for it.
//!
//! Its life does not depend on any call: a call that has waited long enough goes and the cell goes
//! on. What it puts out and how it ended can be asked for as long as its session remembers it.

mod questions;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    Change, SandboxError,
    claim::Claims,
    course::{Status, Stop},
    session::Failed,
    shown::Shown,
    stop::Stopped,
};
use crate::{
    base::{
        ids::{self, SessionName},
        secret::Secret,
        trace_context::TraceContext,
    },
    guard::dedup::once::Execution,
    jail::Exit,
    kernel::{self, Finished, Line, event::Question, output::Output},
};

/// A cell to run.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The code.
    pub code: String,
    /// What it does, in its author's words.
    pub description: Option<String>,
    /// How long it may run; the time in the queue does not count, nor does the time that a user
    /// takes to answer it (of which at most [`super::PATIENCE`] a question).
    pub timeout: Duration,
    /// Whether somebody can be asked when it calls `input()`.
    pub asks: bool,
    /// Whether its timeout is all that is left of its session's seconds.
    pub budgeted: bool,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// The truth about a cell that was run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// When it was handed to the kernel.
    pub started: SystemTime,
    /// From the hand-over to the kernel until the end.
    pub duration: Duration,
    /// Which kernel of the session it ran in, from 1.
    pub generation: u64,
    /// The newest kernel of the session that is gone with its variables; 0 when none is.
    pub lost: u64,
    /// What the kernel said at its end.
    pub finished: Option<Finished>,
    /// What it took to stop it.
    pub stopped: Option<Stopped>,
    /// How the kernel died.
    pub exit: Option<Exit>,
    /// Whether the kernel is somebody else's.
    pub foreign: bool,
    /// Why husk ended the kernel, when it did.
    pub cause: Option<String>,
    /// What it did not reach of the network, and what would open it.
    pub blocked: Vec<String>,
    /// What else is to be told, of the session.
    pub news: Vec<String>,
    /// Why it is not in the session's notebook, when it is not.
    pub unrecorded: Option<String>,
}

/// Where a cell is.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Others run first, or its kernel is starting.
    Queued,
    /// The kernel runs it.
    Running {
        /// Since when.
        since: Instant,
        /// What it waits to be told, and which question of its it is.
        question: Option<(u64, Question)>,
    },
    /// It has ended.
    Over(Arc<Outcome>),
    /// Its kernel could not be started.
    Failed(Failed),
    /// Its caller gave up before it began.
    Dropped,
}

impl Phase {
    /// The number of the question that stands.
    pub(super) fn asks(&self) -> Option<u64> {
        match self {
            Self::Running { question: Some((number, _)), .. } => Some(*number),
            _ => None,
        }
    }

    fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Running { .. })
    }
}

/// Hears of a cell as it goes on. Called from the kernel's task: it must not block.
pub trait Listener: Send + Sync {
    /// Text was added to its output, as it came.
    fn text(&self, text: &str);
    /// Something that takes long is under way before the cell can run.
    fn note(&self, line: &str);
}

/// A cell and all that is known of it.
pub struct CellRun {
    /// The session.
    pub session: SessionName,
    /// Its number in the session, from 1.
    pub number: u64,
    /// What is to be run.
    pub cell: Cell,
    /// What it puts out.
    pub output: Arc<Output>,
    /// When it was asked for.
    pub queued_at: SystemTime,
    /// Only who was told it can know it.
    pub secret: Secret,
    phase: watch::Sender<Phase>,
    stop: watch::Sender<Option<Stop>>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    line: OnceLock<Line>,
    questions: AtomicU64,
    end_told: AtomicBool,
    /// Whether the answer about its end tells of lost variables.
    lost: OnceLock<bool>,
    over_since: OnceLock<Instant>,
    pub(super) claims: Claims,
    /// What takes long before it can run.
    says: watch::Receiver<String>,
    changes: broadcast::Sender<Change>,
}

impl CellRun {
    pub(super) fn new(session: SessionName, number: u64, cell: Cell, shown: &Shown) -> Self {
        Self {
            session,
            number,
            cell,
            output: shown.output(),
            queued_at: SystemTime::now(),
            secret: Secret::new(ids::random_hex(16)),
            phase: watch::Sender::new(Phase::Queued),
            stop: watch::Sender::new(None),
            listeners: Mutex::default(),
            line: OnceLock::new(),
            questions: AtomicU64::new(0),
            end_told: AtomicBool::new(false),
            lost: OnceLock::new(),
            over_since: OnceLock::new(),
            claims: Claims::default(),
            says: shown.says(),
            changes: shown.changes.clone(),
        }
    }

    /// Its name in the session, `c1` for the first.
    #[must_use]
    pub fn id(&self) -> String {
        format!("c{}", self.number)
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Where it is, now and from here on.
    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Tells that it is where it was not before.
    pub(super) fn announce(&self) {
        // Mostly nobody wants to be told.
        let _ = self.changes.send(Change::Cells(self.session.clone()));
    }

    /// Whether it has ended, or never will begin.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase.borrow().is_final()
    }

    /// Resolves when it is over, or asks something after its question `asked`; meanwhile tells its
    /// listeners what takes long.
    pub async fn turns(&self, asked: u64) -> Phase {
        let (mut phase, mut says) = (self.phase.subscribe(), self.says.clone());
        let turned =
            |phase: &Phase| phase.is_final() || phase.asks().is_some_and(|number| number > asked);
        loop {
            let turns = async {
                let turned = phase.wait_for(turned).await.map(|phase| phase.clone());
                match turned {
                    Ok(phase) => phase,
                    // The sender of the phase is in `self`.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                phase = turns => return phase,
                Ok(()) = says.changed() => {
                    let line = says.borrow_and_update().clone();
                    self.tell(|listener| listener.note(&line));
                }
            }
        }
    }

    /// Resolves when it is over.
    pub async fn over(&self) -> Phase {
        self.turns(u64::MAX).await
    }

    /// Resolves when its question of that number stands no more.
    pub async fn asks_no_more(&self, number: u64) {
        let gone = |phase: &Phase| phase.asks() != Some(number);
        // The sender is in `self`.
        let _ = self.phase.subscribe().wait_for(gone).await;
    }

    /// Lets a listener hear of it for as long as the listener lives.
    pub fn listen(&self, listener: &Arc<dyn Listener>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Stops it: it never begins, and has left the queue, or is interrupted.
    pub fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|already| {
            let first = already.is_none();
            already.get_or_insert(stop);
            first
        });
        let dropped = self.phase.send_if_modified(|phase| {
            let waits = matches!(phase, Phase::Queued);
            if waits {
                self.over_since.get_or_init(Instant::now);
                *phase = Phase::Dropped;
            }
            waits
        });
        if dropped {
            self.announce();
        }
    }

    /// Tells every listener.
    pub(super) fn tell(&self, say: impl Fn(&dyn Listener)) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| say(&*listener));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Resolves when it shall be stopped, and why.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let stop = stop.wait_for(Option::is_some).await.map(|stop| *stop);
        match stop {
            Ok(Some(stop)) => stop,
            // The sender is in `self`.
            _ => std::future::pending().await,
        }
    }

    /// An answer has told how it ended.
    pub fn end_is_told(&self) {
        self.end_told.store(true, Ordering::Relaxed);
    }

    /// Whether answers about its end tell of lost variables: all of them, or none. `first` is asked
    /// once.
    pub fn tells_loss(&self, first: impl FnOnce() -> bool) -> bool {
        *self.lost.get_or_init(first)
    }

    pub(super) fn end_was_told(&self) -> bool {
        self.end_told.load(Ordering::Relaxed)
    }

    /// Whether it begins: it may have been stopped in this moment.
    pub(super) fn begins(&self, line: Line) -> bool {
        // Set once: a cell runs once.
        let _ = self.line.set(line);
        let begins = self.phase.send_if_modified(|phase| {
            let waits = matches!(phase, Phase::Queued);
            if waits {
                *phase = Phase::Running { since: Instant::now(), question: None };
            }
            waits
        });
        if begins {
            self.announce();
        }
        begins
    }

    pub(super) fn ends(&self, phase: Phase) {
        self.output.settle();
        self.over_since.get_or_init(Instant::now);
        self.phase.send_replace(phase);
        self.announce();
    }

    /// Why it has no outcome, when it is over and has none.
    #[must_use]
    pub fn not_run(phase: &Phase) -> Option<SandboxError> {
        match phase {
            Phase::Failed(failed) => Some(SandboxError::Failed(failed.clone())),
            Phase::Dropped => Some(SandboxError::Dropped),
            _ => None,
        }
    }
}

impl Execution for Arc<CellRun> {
    fn over_since(&self) -> Option<Instant> {
        self.over_since.get().copied()
    }

    fn has_begun(&self) -> bool {
        !matches!(self.phase(), Phase::Dropped | Phase::Failed(_))
    }

    fn join(&self) -> bool {
        !self.is_over() && !self.is_stopped() && self.claims.join()
    }
}

impl kernel::Watch for CellRun {
    fn text(&self, text: &str) {
        self.tell(|listener| listener.text(text));
    }

    fn asks(&self, asked: Question) {
        self.begins_to_ask(asked);
    }
}
