//! Kernels at a gateway: started there, interrupted, and ended there for certain.
//!
//! They are no processes of this machine: nothing holds them here, and nothing but the gateway can end
//! them. So each is written down before it is used ([`ledger`]), and whoever drops one has ended it: what
//! a server that was killed has left is ended by the next one with this data folder. Only a server that
//! ends between the start there and the answer leaves one that nobody knows, to the gateway's own culling.

mod ledger;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::Body,
    facts::Facts,
    launch::{Kernel, LaunchError, Launcher, Wish},
    run_folder::Run,
    servers::NoServer,
    service::Gifts,
};
use crate::{
    base::backoff::Backoff,
    jail::{Exit, Report},
    kernel::{
        Client,
        gateway::{Gateway, GatewayError, KernelId},
    },
};
use ledger::Ledger;

/// How long a cell's answer waits for the end of its kernel. A Jupyter Server takes five seconds for one
/// that does not go by itself.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a gateway may take to say which kernel it has started. Longer than any `launch.timeout`: also the kernel
/// that nobody waits for any more has to be ended, and only who knows its id can do that.
const NAMED: Duration = Duration::from_secs(900);
/// How long a server that ends waits for the ends of its kernels.
const LAST: Duration = Duration::from_secs(25);
/// Between tries to end a kernel.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(500),
    factor: 2.0,
    cap: Duration::from_secs(4),
    jitter: 0.25,
    retries: 4,
};

/// Starts and ends kernels at the gateway of the settings.
pub struct Provisioner {
    gateway: Arc<Gateway>,
    ledger: Ledger,
    /// What is under way there.
    tasks: TaskTracker,
    /// The server ends: what fails now is left to the next one.
    closing: CancellationToken,
    swept: AtomicBool,
}

impl Provisioner {
    /// What is started at `gateway` is written down in that data folder.
    ///
    /// # Errors
    /// [`NoServer`] when nothing can be written there.
    pub fn new(gateway: Gateway, data: &Path) -> Result<Arc<Self>, NoServer> {
        let ledger = Ledger::open(data, gateway.url())?;
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let swept = AtomicBool::new(false);
        Ok(Arc::new(Self { gateway: Arc::new(gateway), ledger, tasks, closing, swept }))
    }

    /// The gateway itself.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Waits until the ends that are under way have come. A gateway that is away is not waited for.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(LAST, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "the gateway has not ended all kernels yet; the next server looks after them"
            );
        }
    }

    /// Ends, in the background, what servers that are gone have left at this gateway.
    fn sweep(self: &Arc<Self>) {
        if self.swept.swap(true, Ordering::Relaxed) {
            return;
        }
        for id in self.ledger.left() {
            tracing::info!(kernel = %id, "ending what a server that is gone has left at the gateway");
            self.dismiss(id);
        }
    }

    /// A kernel of that kernelspec. It goes on also when nobody waits for it any more, so that what comes
    /// of it is known, and ended.
    async fn start(self: &Arc<Self>, spec: Option<String>) -> Result<Remote, LaunchError> {
        self.sweep();
        let (tell, told) = oneshot::channel();
        let own = Arc::clone(self);
        self.tasks.spawn(async move {
            let started = own.gateway.start(spec.as_deref(), NAMED).await;
            // Dropped where nobody takes it.
            drop(tell.send(started.map(|id| Remote::new(own, id))));
        });
        match told.await {
            Ok(started) => started.map_err(LaunchError::Gateway),
            Err(_) => Err(LaunchError::Closing),
        }
    }

    /// Ends a kernel, in the background.
    fn dismiss(self: &Arc<Self>, id: KernelId) {
        let Ok(runtime) = Handle::try_current() else {
            // Nothing runs any more: the next server finds it.
            return;
        };
        let own = Arc::clone(self);
        self.tasks.spawn_on(async move { own.ended(&id).await }, &runtime);
    }

    /// Ends a kernel, also at a gateway that is away for a moment.
    async fn ended(&self, id: &KernelId) {
        let mut tries = 0;
        loop {
            let error = match self.gateway.end(id).await {
                Ok(()) => return self.ledger.strike(id),
                Err(error) => error,
            };
            let again = AGAIN.delay(tries, 0.5);
            let gives_up = tries >= AGAIN.retries || matches!(error, GatewayError::Denied { .. });
            if gives_up || timeout(again, self.closing.cancelled()).await.is_ok() {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, kernel = %id, "cannot end a kernel at the gateway; the next server tries again");
                return;
            }
            tries += 1;
        }
    }
}

/// A kernel at the gateway. Dropping it ends it.
pub(super) struct Remote {
    home: Arc<Provisioner>,
    id: KernelId,
    ended: AtomicBool,
}

impl Remote {
    fn new(home: Arc<Provisioner>, id: KernelId) -> Self {
        home.ledger.enter(&id);
        Self { home, id, ended: AtomicBool::new(false) }
    }

    /// Interrupts what it does, in the background: what is done about a cell that does not heed it does
    /// not wait for the gateway.
    pub(super) fn interrupt(&self) {
        let (gateway, id) = (Arc::clone(&self.home.gateway), self.id.clone());
        self.home.tasks.spawn(async move {
            if let Err(error) = gateway.interrupt(&id).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, kernel = %id, "cannot interrupt a kernel at the gateway");
            }
        });
    }

    /// Ends it. Where that takes long it is not waited for.
    pub(super) async fn killed(&self) -> Exit {
        if !self.ended.swap(true, Ordering::Relaxed) {
            let (home, id) = (Arc::clone(&self.home), self.id.clone());
            let end = self.home.tasks.spawn(async move { home.ended(&id).await });
            // A task that broke has said so.
            let _ = timeout(AT_ONCE, end).await;
        }
        Exit::Unknown
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.home.dismiss(self.id.clone());
        }
    }
}

impl Launcher {
    /// A kernel at the gateway. Its name there; without one, the gateway's default.
    pub(super) async fn start_at(
        &self,
        gateway: &Arc<Provisioner>,
        name: Option<&String>,
        wish: &Wish<'_>,
    ) -> Result<Kernel, LaunchError> {
        let place = self.room.place()?;
        // The session's record is written there.
        std::fs::create_dir_all(wish.workspace)
            .map_err(|source| LaunchError::Workspace { path: wish.workspace.to_owned(), source })?;
        let run = Run::make().map_err(LaunchError::Run)?;
        let seconds = self.settings.timeout;
        let program = || format!("{}api/kernels", gateway.gateway.url());
        let started = async {
            let remote = gateway.start(name.cloned()).await?;
            let (url, id) = (Arc::clone(&gateway.gateway), remote.id.clone());
            let client = Client::reach(url, id, self.wire).await;
            let client =
                client.map_err(|source| LaunchError::Connect { program: program(), source })?;
            Ok((remote, client))
        };
        let late = |_| LaunchError::LateElsewhere { program: program(), seconds };
        let limit = Duration::from_secs_f64(seconds);
        let (remote, client) = timeout(limit, started).await.map_err(late)??;
        tracing::debug!(session = %wish.session, kernel = %remote.id, "a kernel runs at the gateway");
        let facts = Facts {
            isolation: Some(Arc::new(report())),
            ..Facts::of(client.info(), PathBuf::from(format!("{}/{}", program(), remote.id)))
        };
        let name = name.cloned().unwrap_or_else(|| client.info().language.clone());
        Ok(Kernel {
            client,
            body: Body::Remote(remote),
            gifts: Gifts::new(),
            _proxy: None,
            facts,
            name,
            launched: false,
            interrupts_by_message: false,
            hold: None,
            connection: None,
            run,
            _place: place,
        })
    }
}

/// What is told of the isolation of a kernel that is somewhere else.
fn report() -> Report {
    Report {
        requested: "none",
        effective: "gateway",
        network: "gateway",
        hosts: Vec::new(),
        memory_bytes: None,
        layers: Vec::new(),
        gaps: vec![
            "the kernel runs where its gateway has it: husk neither isolates nor bounds it, and what \
             cells can reach there is the gateway's business",
            "the workspace is this machine's: cells do not see it, and only the session's record is \
             written there",
        ],
        passed_over: Vec::new(),
    }
}
