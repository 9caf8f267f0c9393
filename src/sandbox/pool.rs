//! Kernels that are ready before anybody asks for one, so that a new session, a restart or a reset
//! need not wait for a start.
//!
//! They are started like any other, with the same isolation, once a first kernel has shown that
//! kernels start here, and while a processor has nothing to do for a cell. They belong to no session:
//! one that is handed over was never used.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Source,
    census::{Census, Death},
    launch::{Kernel, LaunchError, Launcher, Wish},
};
use crate::{base::ids::SessionName, jail::Identity, notebook::record};

/// See the module's documentation.
#[derive(Default)]
pub struct Pool {
    shelf: Mutex<Shelf>,
    /// A kernel was asked for.
    asked: Notify,
    /// How many cells run.
    running: watch::Sender<usize>,
}

#[derive(Default)]
struct Shelf {
    ready: Vec<Ready>,
    /// Those that are not what a start would make now, and are to be ended.
    unfit: Vec<Kernel>,
}

/// A kernel that waits, and what its start depended on.
struct Ready {
    kernel: Kernel,
    /// Its process: the word of its init that it has ended may still be on the way.
    process: Option<Identity>,
    workspace: PathBuf,
}

/// A cell runs as long as this lives.
pub(super) struct Running<'a>(&'a watch::Sender<usize>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

impl Pool {
    /// Process ids of those that wait.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.shelf().ready.iter().filter_map(|ready| ready.kernel.facts.pid).collect()
    }

    /// A cell begins.
    pub(super) fn begins(&self) -> Running<'_> {
        self.running.send_modify(|running| *running += 1);
        Running(&self.running)
    }

    /// A kernel that waits and is what a start would make now.
    fn take(&self, workspace: &Path) -> Option<Kernel> {
        let mut shelf = self.shelf();
        while let Some(first) = shelf.ready.pop() {
            if first.fits(workspace) {
                let mut kernel = first.kernel;
                // Its session's time begins.
                kernel.facts.started = SystemTime::now();
                return Some(kernel);
            }
            shelf.unfit.push(first.kernel);
        }
        None
    }

    /// Resolves when a processor has no cell to run.
    async fn room(&self) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // The sender lives as long as the pool.
        let _ = self.running.subscribe().wait_for(|running| *running < processors).await;
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those that are unfit, and with `all` those that are ready.
    async fn clear(&self, all: bool, census: &Census) {
        let mut ends = std::mem::take(&mut self.shelf().unfit);
        if all {
            let ready = std::mem::take(&mut self.shelf().ready);
            ends.extend(ready.into_iter().map(|ready| ready.kernel));
        }
        for kernel in ends {
            kernel.end().await;
            census.died(Death::Spare);
        }
    }
}

impl Ready {
    fn new(kernel: Kernel, workspace: PathBuf) -> Self {
        let pid = kernel.facts.pid.and_then(|pid| i32::try_from(pid).ok());
        Self { kernel, process: pid.map(Identity::of), workspace }
    }

    /// Whether it lives, and a start would make the same.
    fn fits(&self, workspace: &Path) -> bool {
        let kernel = &self.kernel;
        let lives = kernel.body.exited().now_or_never().is_none()
            && kernel.client.gone().now_or_never().is_none()
            && self.process.as_ref().is_none_or(Identity::lives);
        lives
            && self.workspace == workspace
            && kernel.facts.program.exists()
            && kernel.hold.iter().all(|hold| hold.trusted.is_whole())
    }
}

impl Launcher {
    /// Whether kernels are kept ready; not at a gateway.
    pub(super) fn pools(&self) -> bool {
        self.settings.pool > 0 && !self.is_elsewhere()
    }

    /// A kernel as it is wished: one that is ready, or a fresh one.
    pub(super) async fn launch(&self, wish: &Wish<'_>) -> Result<Kernel, LaunchError> {
        if !matches!(wish.from, Source::Settings) || !self.pools() {
            return self.start_anew(wish).await;
        }
        let kernel = match self.pool.take(wish.workspace) {
            Some(kernel) => self.handed_over(kernel, wish).await?,
            None => self.start_anew(wish).await?,
        };
        self.pool.asked.notify_one();
        Ok(kernel)
    }

    /// A kernel of the pool gets its session.
    async fn handed_over(&self, kernel: Kernel, wish: &Wish<'_>) -> Result<Kernel, LaunchError> {
        record::make_folder(&self.notebook, wish.workspace);
        if let Some(claim) = &wish.claim {
            claim.placed(&kernel.run).await?;
        }
        tracing::debug!(session = %wish.session, pid = kernel.facts.pid, "a kernel was ready");
        Ok(kernel)
    }
}

/// Keeps `launcher`'s pool full for sessions in that workspace, until the server ends; and ends what is
/// in it then.
pub(super) async fn tend(launcher: Arc<Launcher>, workspace: PathBuf, closing: CancellationToken) {
    let pool = &launcher.pool;
    let filled = async {
        loop {
            pool.asked.notified().await;
            pool.clear(false, &launcher.census).await;
            while pool.shelf().ready.len() < launcher.settings.pool {
                pool.room().await;
                let started = start(&launcher, &workspace).await;
                let Some(kernel) = started else { break };
                pool.shelf().ready.push(Ready::new(kernel, workspace.clone()));
            }
        }
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = filled => {}
    }
    pool.clear(true, &launcher.census).await;
}

async fn start(launcher: &Launcher, workspace: &Path) -> Option<Kernel> {
    let session = SessionName::new("ready").ok()?;
    let says = watch::Sender::new(String::new());
    let from = &Source::Settings;
    let wish = Wish { session: &session, from, workspace, says: &says, claim: None, trace: None };
    match launcher.start_anew(&wish).await {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            // The next session starts its own, and is told what is wrong.
            tracing::warn!(%error, "no kernel could be made ready");
            None
        }
    }
}
