//! The task that owns a session's kernel: starts it, hands it one cell after the other, replaces it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    CellSettings, Source,
    cell::{CellRun, Outcome, Phase},
    census::Death,
    course::{self, Bounds, End, Stop},
    launch::{Kernel, Launcher},
    left::Policy,
    lodging::Lodging,
    reaper,
    scribe::Scribe,
    session::{Order, Restart},
    shown::{Shown, Snapshot},
    state::{Happened, Life},
};
use crate::{
    base::{
        clock,
        ids::{self, SessionName},
    },
    kernel::{Execute, Watch},
};

mod earlier;
mod ready;

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
    lodging: Lodging,
    cells: u64,
    kernel: Option<Kernel>,
    /// Kernels that are on their way out.
    leaving: JoinSet<()>,
    /// When the kernel was started, and used last.
    times: (Instant, Instant),
    /// What is to be told with the next cell.
    news: Vec<String>,
    restarts: mpsc::UnboundedReceiver<Restart>,
    /// Tells of output after the end of a cell.
    late: Option<watch::Receiver<u64>>,
    scribe: Option<Scribe>,
}

impl Keeper {
    pub(super) fn new(
        (name, source): (SessionName, Source),
        (launcher, lodging): (Arc<Launcher>, Lodging),
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
            lodging,
            cells: 0,
            kernel: None,
            leaving: JoinSet::new(),
            times: (Instant::now(), Instant::now()),
            news: Vec::new(),
            restarts,
            late: None,
            scribe,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let closing = self.closing.clone();
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(restart) = self.restarts.recv() => self.restart(restart).await,
                (end, death) = idle_end(self.kernel.as_ref()) => {
                    tracing::warn!(session = %self.name, end, "an idle kernel is gone");
                    if self.kernel.as_ref().is_some_and(|kernel| kernel.body.is_remote()) {
                        self.news.push(format!("the kernel before was lost: {end}"));
                    }
                    self.gone(death);
                }
                () = self.lodging.lost() => self.overtaken(),
                () = clock::at(due.map(|(at, ..)| at)) => self.reaped(due),
                () = late(&mut self.late) => self.write_late().await,
                order = inbox.recv() => match order {
                    Some(Order::Warm) => drop(self.ready(None).await),
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
        let kernel = self.kernel.take();
        self.lodging.leave(kernel, false).await;
        while self.leaving.join_next().await.is_some() {}
    }

    async fn serve(&mut self, run: &Arc<CellRun>) {
        // Its caller gave up while it waited in the queue, or while the kernel started.
        if run.is_stopped() {
            return run.ends(Phase::Dropped);
        }
        loop {
            if let Err(failed) = self.ready(run.cell.trace.as_ref()).await {
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
        self.notice_replaced();
        let Some(outcome) = self.execute(run).await else { return run.ends(Phase::Dropped) };
        self.conclude(run, outcome).await;
        let own = !matches!(self.source, Source::File(_));
        if self.kernel.is_none() && own && self.restarts.is_empty() && !self.closing.is_cancelled()
        {
            // The next call shall find a kernel; when the start fails, it is told why.
            drop(self.ready(None).await);
        }
    }

    /// A cell is over: it is written down, and then told.
    async fn conclude(&mut self, run: &Arc<CellRun>, outcome: Outcome) {
        run.output.settle();
        let outcome = match &mut self.scribe {
            Some(scribe) => scribe.write(run, outcome).await,
            None => Arc::new(outcome),
        };
        run.ends(Phase::Over(outcome));
        self.write_late().await;
    }

    async fn write_late(&mut self) {
        if let Some(scribe) = &mut self.scribe {
            scribe.write_late().await;
        }
    }

    async fn restart(&mut self, Restart { fresh, source, answer }: Restart) {
        // What an earlier server has left is no fresh one.
        self.lodging.discard();
        if let Some(source) = source {
            self.lodging.changes(Policy::of(&self.launcher, &source));
            self.source = source;
        }
        self.end_kernel(Death::Asked);
        let ready = match fresh {
            true => self.ready(None).await,
            false => {
                while self.leaving.join_next().await.is_some() {}
                self.lodging.leave(None, true).await;
                Ok(())
            }
        };
        // Whoever gave up does not read it.
        let _ = answer.send(ready.map(|()| self.life.generation));
    }

    fn end_kernel(&mut self, death: Death) {
        // Asking it and waiting for its last process need not be waited for.
        while self.leaving.try_join_next().is_some() {}
        if let Some(kernel) = self.kernel.take() {
            self.leaving.spawn(kernel.end());
            self.gone(death);
        }
    }

    /// Another server has the session, and may have a kernel of it.
    fn overtaken(&mut self) {
        self.lodging.forget();
        self.end_kernel(Death::TakenOver);
        self.news.push(format!("the kernel was ended: {}", course::TAKEN_OVER));
    }

    /// When the idle kernel has had its time, and why.
    fn due(&self) -> Option<(Instant, &'static str, Death)> {
        let (born, used) = self.times;
        let own = self.kernel.as_ref().is_some_and(|kernel| kernel.body.is_own());
        reaper::due(&self.launcher.sessions, born, used).filter(|_| own)
    }

    fn reaped(&mut self, due: Option<(Instant, &str, Death)>) {
        let Some((_, why, death)) = due else { return };
        tracing::info!(session = %self.name, why, "an idle kernel is ended");
        self.end_kernel(death);
        self.news.push(format!("the kernel was ended: {why}"));
    }

    /// Runs a cell in the kernel; `None` if it was stopped before it began.
    async fn execute(&mut self, run: &Arc<CellRun>) -> Option<Outcome> {
        if !run.begins(self.kernel.as_ref()?.client.line()) {
            return None;
        }
        self.cells += 1;
        self.happened(Happened::CellBegan);
        let kernel = self.kernel.as_ref()?;
        let begun = (Instant::now(), SystemTime::now());
        let refusals = kernel.facts.refusals();
        // Whoever asks for a fresh kernel stops the cell only if it sees it running.
        if !self.restarts.is_empty() {
            run.stop(Stop::Restarted);
        }
        let running = self.launcher.pool.begins();
        let request = ids::random_hex(16);
        let left = || earlier::left(run, request.clone(), begun.1);
        self.lodging.cell_begins(kernel, self.cells, left);
        let execution = kernel.client.execute(Execute {
            request: request.clone(),
            code: run.cell.code.clone(),
            output: Arc::clone(&run.output),
            watch: Some(Arc::<CellRun>::clone(run) as Arc<dyn Watch>),
            asks: run.cell.asks,
            trace: run.cell.trace.clone(),
        });
        let end = course::until_the_end(kernel, execution, self.bounds(run)).await;
        drop(running);
        let failure = end.finished.as_ref().and_then(|finished| finished.failure.as_ref());
        let blocked = kernel.facts.not_reached(refusals, failure);
        Some(Outcome { blocked, ..self.ended(end, begun) })
    }

    fn bounds<'a>(&'a self, run: &'a CellRun) -> Bounds<'a> {
        Bounds {
            timeout: run.cell.timeout,
            grace: Duration::from_secs_f64(self.settings.interrupt_grace),
            run,
            closing: &self.closing,
            leaves: self.lodging.keep() > Duration::ZERO,
            lodging: &self.lodging,
            expires: reaper::expires(&self.launcher.sessions, self.times.0),
        }
    }

    /// The cell that began then is over.
    fn ended(&mut self, end: End, (begun, started): (Instant, SystemTime)) -> Outcome {
        let generation = self.life.generation;
        self.times.1 = Instant::now();
        self.launcher.census.ran(end.status);
        if let Some(death) = end.death() {
            self.gone(death);
        } else {
            // One that goes on without this server has not ended.
            if let Some(kernel) = self.kernel.as_ref().filter(|_| !self.closing.is_cancelled()) {
                self.lodging.cell_ended(kernel);
                self.lodging.kept(kernel, self.left());
            }
            self.happened(Happened::CellEnded);
        }
        Outcome {
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
            blocked: Vec::new(),
            news: std::mem::take(&mut self.news),
            unrecorded: None,
        }
    }

    fn gone(&mut self, death: Death) {
        self.launcher.census.died(death);
        self.kernel = None;
        self.lodging.gone();
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
async fn idle_end(kernel: Option<&Kernel>) -> (String, Death) {
    let Some(kernel) = kernel else { return std::future::pending().await };
    tokio::select! {
        exit = kernel.body.exited() => (exit.to_string(), Death::of(exit)),
        gone = kernel.client.gone() => {
            kernel.body.killed().await;
            (gone.to_string(), Death::Lost)
        }
    }
}
