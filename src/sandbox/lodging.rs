//! How one session comes to its kernel where other servers may want the session too: by a claim, with
//! the kernel that an earlier server has left or with a fresh one.
//!
//! A session that nobody else can name needs no claim. One that another server has, or that cannot be
//! written down, gets a kernel of this server's own, which shares nothing and ends with the server;
//! and is told why. Not so where servers on several machines have one store: then a session is the
//! same whichever of them is asked, so that it is told who has it, or that it cannot be known.

mod told;

use std::{sync::Arc, time::Duration};

use super::{
    elsewhere::has_it,
    launch::{Claim, Kernel, LaunchError, Launcher, Wish},
    left::{self, Found, LeftCell, NotFound, Place, Policy},
    registry::Key,
    servers::{Server, Who},
    state::tenure::{Step, Tenure},
    tenancy::{Claimed, Got, Held, Made, Tenancy, TenancyError},
};
use crate::{
    base::causes,
    jail,
    kernel::{Adopt, Execution},
};

/// How sessions are kept, for all of a server's.
#[derive(Clone)]
pub struct Keeping {
    /// What this server has; or why it can keep nothing.
    pub tenancy: Result<Tenancy, Arc<str>>,
    /// How long a kernel outlives its server.
    pub keep_alive: Duration,
    /// Whether a session is the same on all servers, so that none makes a kernel of its own for it.
    pub shared: bool,
}

/// See the module's documentation.
pub(super) struct Lodging {
    keeping: Option<Keeping>,
    key: Key,
    policy: Policy,
    held: Option<Held>,
    /// Why the kernel is this server's own, where others may want the session.
    own: Option<String>,
    /// How many kernels the session has had.
    generation: u64,
    /// Whether what an earlier server has left is ended.
    discards: bool,
}

/// A kernel that answers.
pub(super) struct Started {
    pub(super) kernel: Kernel,
    /// Which kernel of the session it is.
    pub(super) generation: u64,
    /// Whether an earlier server has started it, so that it may have variables.
    pub(super) found: bool,
    /// The cell that it runs.
    pub(super) execution: Option<Execution>,
    /// The kernel of an earlier server in which cells had run, and which is gone.
    pub(super) lost: Option<u64>,
    /// What is to be told.
    pub(super) news: Vec<String>,
}

/// Makes a cell of what an earlier server has left, to be followed.
pub(super) type Follow<'a> = &'a (dyn Fn(&LeftCell) -> Adopt + Send + Sync);

impl Lodging {
    /// Without `keeping`, nobody else can name the session.
    pub(super) fn new(keeping: Option<Keeping>, key: Key, policy: Policy) -> Self {
        Self { keeping, key, policy, held: None, own: None, generation: 0, discards: false }
    }

    /// Why the kernel is this server's own; nothing where that is as it should be.
    pub(super) fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// How long the kernel outlives its server.
    pub(super) fn keep(&self) -> Duration {
        let keeping = self.keeping.as_ref().filter(|_| self.held.is_some());
        keeping.map_or(Duration::ZERO, |keeping| keeping.keep_alive)
    }

    /// The next kernel is a fresh one in any case.
    pub(super) fn discard(&mut self) {
        self.discards = true;
    }

    /// From the next start on, kernels are started with that.
    pub(super) fn changes(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Resolves when another server has taken the session over.
    pub(super) async fn lost(&self) {
        match &self.held {
            Some(held) => held.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Comes to a kernel.
    pub(super) async fn start(
        &mut self,
        launcher: &Launcher,
        wish: Wish<'_>,
        follow: Follow<'_>,
    ) -> Result<Started, LaunchError> {
        let Some(Keeping { tenancy, shared, .. }) = self.keeping.clone() else {
            return self.fresh(launcher, wish).await;
        };
        let tenancy = match tenancy {
            Ok(tenancy) => tenancy,
            Err(why) if shared => {
                return Err(LaunchError::Tenancy(TenancyError::Failed(why.to_string())));
            }
            Err(why) => {
                return self.start_own(launcher, wish, format!("it is not kept: {why}")).await;
            }
        };
        if let Some(held) = self.held.take() {
            match held.step(Step::StartBegan).await {
                // Overtaken; or what was told before is not written, and the claim is worth nothing.
                Ok(false) => drop(held.step(Step::Off).await),
                Err(error) if shared => {
                    self.held = Some(held);
                    return Err(LaunchError::Tenancy(TenancyError::Registry(error)));
                }
                Ok(true) | Err(_) => {
                    return self.start_again(launcher, wish, held, &tenancy).await;
                }
            }
        }
        self.claim(launcher, wish, follow, &tenancy).await
    }

    /// Whether a session is the same on all servers.
    fn shared(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.shared)
    }

    /// A kernel after the one that is gone, under the same claim.
    async fn start_again(
        &mut self,
        launcher: &Launcher,
        wish: Wish<'_>,
        held: Held,
        tenancy: &Tenancy,
    ) -> Result<Started, LaunchError> {
        let server = tenancy.server();
        let claim = Some(Claim { held: &held, server });
        let started = match self.fresh(launcher, Wish { claim, ..wish }).await {
            Ok(started) => started,
            Err(error) => {
                held.tell(Step::Failed(error.to_string()));
                return Err(error);
            }
        };
        let place = self.write_down(&started.kernel, server);
        let generation = started.generation;
        match held.step(Step::Ready { place, generation }).await {
            Ok(true) => {
                self.held = Some(held);
                Ok(started)
            }
            Ok(false) => overtaken(started).await,
            Err(error) if self.shared() => {
                started.kernel.end().await;
                // The clerk says what is wrong with the store.
                drop(held.step(Step::Off).await);
                Err(LaunchError::Tenancy(TenancyError::Registry(error)))
            }
            Err(error) => Ok(self.unkept(started, &error)),
        }
    }

    async fn claim(
        &mut self,
        launcher: &Launcher,
        wish: Wish<'_>,
        follow: Follow<'_>,
        tenancy: &Tenancy,
    ) -> Result<Started, LaunchError> {
        let (key, server) = (self.key.clone(), tenancy.server());
        let (mut started, mut failed) = (None, None);
        let got = tenancy
            .get_or_create(&key, async |claimed: Claimed| {
                jail::fault_point("claimed");
                match self.begin(launcher, wish, follow, &claimed, server).await {
                    Ok(begun) => {
                        let place = self.write_down(&begun.kernel, server);
                        let generation = begun.generation;
                        started = Some(begun);
                        Ok(Made { place, generation })
                    }
                    Err(error) => {
                        let why = error.to_string();
                        failed = Some(error);
                        Err(why)
                    }
                }
            })
            .await;
        match (got, started, failed) {
            (Ok(Got::Won(held)), Some(started), _) => {
                (self.held, self.own) = (Some(held), None);
                Ok(started)
            }
            (Err(TenancyError::Registry(error)), started, _) if self.shared() => {
                if let Some(started) = started {
                    started.kernel.end().await;
                }
                Err(LaunchError::Tenancy(TenancyError::Registry(error)))
            }
            (Err(TenancyError::Registry(error)), Some(started), _) => {
                Ok(self.unkept(started, &error))
            }
            (Err(TenancyError::Registry(error)), None, _) => {
                self.start_own(
                    launcher,
                    wish,
                    format!("it is not kept: {}", causes::told(&error, ": ")),
                )
                .await
            }
            (Err(_), Some(started), _) => overtaken(started).await,
            (_, _, Some(error)) => Err(error),
            (Err(error), ..) => Err(LaunchError::Tenancy(error)),
            (Ok(Got::Theirs(tenure)), ..) if self.shared() => {
                Err(has_it(Who::of(tenure.holder.as_deref().unwrap_or_default())))
            }
            (Ok(Got::Theirs(tenure) | Got::Ours(tenure)), ..) => {
                self.start_own(launcher, wish, held_by(&tenure)).await
            }
            (Ok(Got::Won(held)), None, None) => {
                held.tell(Step::Off);
                Err(LaunchError::Closing)
            }
        }
    }

    /// The claim is granted: goes on with what an earlier server has left, or starts afresh.
    async fn begin(
        &mut self,
        launcher: &Launcher,
        wish: Wish<'_>,
        follow: Follow<'_>,
        claimed: &Claimed,
        server: &Server,
    ) -> Result<Started, LaunchError> {
        let tenure = &claimed.tenure;
        self.generation = self.generation.max(tenure.generation);
        let mut gone = None;
        if let Some(place) = tenure.place.as_deref().and_then(Place::read) {
            if let Some(site) = place.site.as_ref().filter(|site| !server.is_here(Some(site))) {
                gone = Some(NotFound::Elsewhere(site.host.clone()));
            } else if self.discards {
                place.dismiss().await;
            } else {
                match self.find(launcher, follow, claimed, server, &place).await {
                    Ok(started) => return Ok(started),
                    Err(why) => gone = Some(why),
                }
            }
        }
        let claim = Some(Claim { held: &claimed.held, server });
        let mut started = self.fresh(launcher, Wish { claim, ..wish }).await?;
        if tenure.cells > 0 {
            started.lost = Some(tenure.generation);
            let why = gone.map_or_else(String::new, |why| format!(": {why}"));
            started.news.push(format!("the kernel that an earlier server had is gone{why}"));
        }
        Ok(started)
    }

    async fn find(
        &self,
        launcher: &Launcher,
        follow: Follow<'_>,
        claimed: &Claimed,
        server: &Server,
        place: &Place,
    ) -> Result<Started, NotFound> {
        let owner = server.file();
        let epoch = claimed.tenure.epoch;
        let cell = left::cell_of(place);
        let adopt = cell.as_ref().map(follow);
        let found = launcher.find_again(place, &self.policy, (epoch, &owner), adopt).await?;
        let Found { kernel, execution } = found;
        let mut news = vec![format!(
            "this is the kernel that an earlier server has left (generation {}): variables and imports are kept",
            claimed.tenure.generation
        )];
        if let (Some(cell), Some(_)) = (&cell, &execution) {
            news.push(format!(
                "it had begun a cell ({}) when that server ended: notebook_wait_cell with cell \"c0\" tells of it",
                cell.id
            ));
        }
        let generation = claimed.tenure.generation;
        Ok(Started { kernel, generation, found: true, execution, lost: None, news })
    }

    /// A fresh kernel.
    async fn fresh(&mut self, launcher: &Launcher, wish: Wish<'_>) -> Result<Started, LaunchError> {
        let kernel = launcher.launch(&wish).await?;
        self.generation += 1;
        self.discards = false;
        let generation = self.generation;
        let news = Vec::new();
        Ok(Started { kernel, generation, found: false, execution: None, lost: None, news })
    }

    /// A kernel of this server's own; `why` is told once.
    async fn start_own(
        &mut self,
        launcher: &Launcher,
        wish: Wish<'_>,
        why: String,
    ) -> Result<Started, LaunchError> {
        let mut started = self.fresh(launcher, wish).await?;
        if self.own.as_deref() != Some(why.as_str()) {
            started.news.push(why.clone());
        }
        self.own = Some(why);
        Ok(started)
    }

    /// It was started, and the store does not take it.
    fn unkept(&mut self, mut started: Started, error: &dyn std::error::Error) -> Started {
        let why = format!("it is not kept: {}", causes::told(error, ": "));
        started.news.push(why.clone());
        self.own = Some(why);
        started
    }

    /// What the store is told of where it is.
    fn write_down(&self, kernel: &Kernel, server: &Server) -> String {
        match kernel.write_down(self.policy.clone(), server.site()) {
            Ok(place) => place.text(),
            Err(error) => {
                tracing::warn!(%error, session = %self.key, "no later server will find the kernel");
                String::new()
            }
        }
    }

    /// This server goes, or the session does: the kernel is left to the next server, or ended.
    pub(super) async fn leave(&mut self, kernel: Option<Kernel>, ends: bool) {
        let leaves = !ends && self.keep() > Duration::ZERO;
        let held = self.held.take();
        let step = match (kernel, &held) {
            (Some(kernel), Some(_)) if leaves => {
                // Before the claim is given up: who claims it then finds nobody there.
                kernel.leave().await;
                Step::Left
            }
            (kernel, _) => {
                if let Some(kernel) = kernel {
                    kernel.end().await;
                }
                Step::Off
            }
        };
        if let Some(held) = held {
            // The clerk says what is wrong with the store.
            let _ = held.step(step).await;
        }
    }
}

/// What was made took longer than its claim held: another server has one, too.
async fn overtaken(started: Started) -> Result<Started, LaunchError> {
    started.kernel.end().await;
    Err(LaunchError::Tenancy(TenancyError::Overtaken))
}

fn held_by(tenure: &Tenure) -> String {
    let holder = tenure.holder.as_deref().and_then(|holder| Who::of(holder).process);
    let who = holder.map_or_else(String::new, |pid| format!(" (server {pid})"));
    format!(
        "another husk{who} has the session of that name: this is a kernel of this server's own, which \
         shares nothing with it and ends with this server"
    )
}
