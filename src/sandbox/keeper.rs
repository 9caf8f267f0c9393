//! The task that owns a session's kernel: starts it, hands it one cell after the other, replaces it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    CellSettings, Source,
    cell::{CellRun, Outcome, Phase},
    course::{self, Bounds, Stop},
    inspect::Asked,
    launch::{Kernel, LaunchError, Launcher},
    scribe::Scribe,
    session::{Failed, Order, Restart, Shown, Snapshot},
    state::{Happened, Life},
};
use crate::{
    base::ids::SessionName,
    kernel::{Execute, Watch},
};

/// How long late output is gathered before it is recorded.
const GATHER: Duration = Duration::from_millis(200);

/// See the module's documentation.
pub(super) struct Keeper {
    name: SessionName,
    source: Source,
    launcher: Arc<Launcher>,
    settings: CellSettings,
    closing: CancellationToken,
    shown: Arc<Shown>,
    life: Life,
    cells: u64,
    kernel: Option<Kernel>,
    restarts: mpsc::UnboundedReceiver<Restart>,
    /// Tells of output after the end of a cell.
    late: Option<watch::Receiver<u64>>,
    scribe: Option<Scribe>,
}

impl Keeper {
    pub(super) fn new(
        (name, source): (SessionName, Source),
        launcher: Arc<Launcher>,
        (settings, closing): (CellSettings, CancellationToken),
        shown: Arc<Shown>,
        restarts: mpsc::UnboundedReceiver<Restart>,
        scribe: Option<Scribe>,
    ) -> Self {
        Self {
            name,
            source,
            launcher,
            settings,
            closing,
            shown,
            life: Life::default(),
            cells: 0,
            kernel: None,
            restarts,
            late: None,
            scribe,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(restart) = self.restarts.recv() => self.restart(restart).await,
                end = idle_end(self.kernel.as_ref()) => {
                    tracing::warn!(session = %self.name, end, "an idle kernel is gone");
                    self.gone();
                }
                () = late(&mut self.late) => self.write_late().await,
                order = inbox.recv() => match order {
                    Some(Order::Warm) => drop(self.ready().await),
                    Some(Order::Run(run)) => self.serve(&run).await,
                    None => break,
                },
            }
        }
        // Nobody shall wait for what will not be run.
        inbox.close();
        while let Some(order) = inbox.recv().await {
            if let Order::Run(run) = order {
                run.ends(Phase::Dropped);
            }
        }
        if let Some(kernel) = self.kernel.take() {
            kernel.end().await;
        }
    }

    async fn serve(&mut self, run: &Arc<CellRun>) {
        // Its caller gave up while it waited in the queue, or while the kernel started.
        if run.is_stopped() {
            return run.ends(Phase::Dropped);
        }
        loop {
            if let Err(failed) = self.ready().await {
                return run.ends(Phase::Failed(failed));
            }
            // Somebody may have asked for a fresh kernel meanwhile.
            match self.restarts.try_recv() {
                Ok(restart) => self.restart(restart).await,
                Err(_) => break,
            }
        }
        if run.is_stopped() {
            return run.ends(Phase::Dropped);
        }
        let Some(outcome) = self.execute(run).await else { return run.ends(Phase::Dropped) };
        run.output.settle();
        let outcome = match &mut self.scribe {
            Some(scribe) => scribe.write(run, outcome).await,
            None => Arc::new(outcome),
        };
        run.ends(Phase::Over(outcome));
        self.write_late().await;
        let own = !matches!(self.source, Source::File(_));
        if self.kernel.is_none() && own && self.restarts.is_empty() && !self.closing.is_cancelled()
        {
            // The next call shall find a kernel; when the start fails, it is told why.
            drop(self.ready().await);
        }
    }

    async fn write_late(&mut self) {
        if let Some(scribe) = &mut self.scribe {
            scribe.write_late().await;
        }
    }

    async fn restart(&mut self, answer: Restart) {
        if let Some(kernel) = self.kernel.take() {
            kernel.end().await;
            self.gone();
        }
        let ready = self.ready().await;
        // Whoever gave up does not read it.
        let _ = answer.send(ready.map(|()| self.life.generation));
    }

    /// Sees to it that a kernel runs.
    async fn ready(&mut self) -> Result<(), Failed> {
        if self.kernel.is_some() {
            return Ok(());
        }
        self.happened(Happened::StartBegan);
        let workspace = self.shown.snapshot.borrow().workspace.clone();
        let launched = tokio::select! {
            launched = self.launcher.launch(&self.name, &self.source, &workspace, &self.shown.says) => launched,
            () = self.closing.cancelled() => Err(LaunchError::Closing),
        };
        match launched {
            Ok(kernel) => {
                let facts = kernel.facts.clone();
                self.shown.asked.send_replace(Some(Asked {
                    line: kernel.client.line(),
                    info: kernel.client.info().clone(),
                    launched: kernel.launched,
                    own: kernel.body.is_own(),
                    generation: self.life.generation + 1,
                }));
                if let Some(scribe) = &self.scribe {
                    scribe.record().kernel(&kernel.name, kernel.client.info());
                }
                self.late = Some(kernel.client.late());
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

    /// Runs a cell in the kernel; `None` if it was stopped before it began.
    async fn execute(&mut self, run: &Arc<CellRun>) -> Option<Outcome> {
        if !run.begins(self.kernel.as_ref()?.client.line()) {
            return None;
        }
        self.cells += 1;
        self.happened(Happened::CellBegan);
        let generation = self.life.generation;
        let kernel = self.kernel.as_ref()?;
        let (begun, started) = (Instant::now(), SystemTime::now());
        let refusals = kernel.facts.refusals();
        // Whoever asks for a fresh kernel stops the cell only if it sees it running.
        if !self.restarts.is_empty() {
            run.stop(Stop::Restarted);
        }
        let execution = kernel.client.execute(Execute {
            code: run.cell.code.clone(),
            output: Arc::clone(&run.output),
            watch: Some(Arc::<CellRun>::clone(run) as Arc<dyn Watch>),
            asks: run.cell.asks,
        });
        let bounds = Bounds {
            timeout: run.cell.timeout,
            grace: Duration::from_secs_f64(self.settings.interrupt_grace),
            run,
            closing: &self.closing,
        };
        let end = course::until_the_end(kernel, execution, bounds).await;
        let failure = end.finished.as_ref().and_then(|finished| finished.failure.as_ref());
        let blocked = kernel.facts.not_reached(refusals, failure);
        if end.dead() {
            self.gone();
        } else {
            self.happened(Happened::CellEnded);
        }
        Some(Outcome {
            status: end.status,
            started,
            duration: begun.elapsed(),
            generation,
            lost: self.life.lost,
            finished: end.finished,
            stopped: end.stopped,
            exit: end.exit,
            foreign: matches!(self.source, Source::File(_)),
            cause: end.cause,
            blocked,
            unrecorded: None,
        })
    }

    fn gone(&mut self) {
        self.kernel = None;
        self.shown.asked.send_replace(None);
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
        self.shown.snapshot.send_modify(change);
    }
}

/// Resolves when a cell that had ended has put something out, and a moment has passed: more may
/// follow.
async fn late(late: &mut Option<watch::Receiver<u64>>) {
    let Some(changes) = late else { return std::future::pending().await };
    if changes.changed().await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(GATHER).await;
}

/// Resolves when the kernel, if there is one, has died or cannot be talked to any more; how it
/// ended. It is dead then.
async fn idle_end(kernel: Option<&Kernel>) -> String {
    let Some(kernel) = kernel else { return std::future::pending().await };
    tokio::select! {
        exit = kernel.body.exited() => exit.to_string(),
        gone = kernel.client.gone() => {
            kernel.body.killed().await;
            gone.to_string()
        }
    }
}
