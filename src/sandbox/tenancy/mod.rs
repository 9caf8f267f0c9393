//! How one process comes to have a session that others may want too.
//!
//! [`Tenancy::get_or_create`] has one winner among all tasks of all processes: in this process only
//! one asks at a time, and among processes the store's claim decides. Who loses waits until the
//! winner is ready, is dead, or has failed. What the winner has is renewed by one task ([`clerk`]),
//! which also tells when it was taken away.

mod clerk;
mod known;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    registry::{Key, Registry, RegistryError},
    servers::{Server, Who},
    state::tenure::{Refused, Stage, Step, Tenure, Terms},
};
use clerk::{Clerk, Report};
use known::Known;

/// How long a claim holds, and what is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a claim holds unless it is renewed.
    pub lease: Duration,
    /// Between two renewals.
    pub renewals: Duration,
    /// How long who waits for a change waits before it looks all the same.
    pub looks: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(20),
            renewals: Duration::from_secs(5),
            looks: Duration::from_secs(2),
        }
    }
}

/// What this process has, of what all processes may want. Clones are one.
#[derive(Clone)]
pub struct Tenancy(Arc<Inner>);

struct Inner {
    registry: Arc<dyn Registry>,
    server: Server,
    pace: Pace,
    known: Arc<Known>,
    reports: mpsc::UnboundedSender<Report>,
    clerk: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.clerk.abort();
    }
}

type Landed = Result<Shared, TenancyError>;

/// What others learn of who asked.
#[derive(Debug, Clone)]
enum Shared {
    Ours(Tenure),
    Theirs(Tenure),
}

/// Who has the session that was asked for.
#[derive(Debug)]
pub enum Got {
    /// This call, which has made its kernel.
    Won(Held),
    /// Another call of this process.
    Ours(Tenure),
    /// Another process.
    Theirs(Tenure),
}

/// Why nobody has it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TenancyError {
    /// The store.
    #[error(transparent)]
    Registry(RegistryError),
    /// Its kernel could not be made.
    #[error("{0}")]
    Failed(String),
    /// Too many starts have failed.
    #[error("{why}; it has failed {attempts} times, and is tried again in {} s", .wait.as_secs() + 1)]
    Resting {
        /// The last cause.
        why: String,
        /// How often.
        attempts: u32,
        /// How long it rests.
        wait: Duration,
    },
    /// It took longer than the claim held, and another process has it now.
    #[error(
        "another process has taken the session over, because this one did not renew its claim in time"
    )]
    Overtaken,
}

/// A session that this process has.
#[derive(Debug, Clone)]
pub struct Held {
    key: Key,
    epoch: u64,
    attempts: u32,
    reports: mpsc::UnboundedSender<Report>,
    lost: CancellationToken,
}

/// A claim that was granted, for who makes the kernel.
#[derive(Debug)]
pub struct Claimed {
    /// The claim.
    pub held: Held,
    /// What was known before it: a kernel may have been left running.
    pub tenure: Tenure,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Where it is.
    pub place: String,
    /// Which kernel of the session it is.
    pub generation: u64,
}

impl Held {
    /// Which session.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Reports, and waits until it is written; whether the claim still holds.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn step(&self, step: Step) -> Result<bool, RegistryError> {
        let (answer, answered) = oneshot::channel();
        self.report(step, Some(answer));
        // A clerk that has ended writes nothing more.
        answered.await.unwrap_or(Ok(false))
    }

    /// Reports, and goes on: written in the order in which it is told.
    pub fn tell(&self, step: Step) {
        self.report(step, None);
    }

    fn report(&self, step: Step, answer: Option<oneshot::Sender<Result<bool, RegistryError>>>) {
        // A clerk that has ended writes nothing more.
        let _ = self.reports.send(Report::Step { held: self.clone(), step, answer });
    }

    /// Resolves when another process has taken it over.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// Gives the session back unless it was made.
struct Undone<'a>(Option<(Held, &'a Known)>);

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        if let Some((held, known)) = self.0.take() {
            // At once: the next who asks shall not take it for this process's.
            known.gives_back(&held.key, held.epoch);
            held.tell(Step::Off);
        }
    }
}

impl Tenancy {
    /// Nothing had yet. Needs a runtime.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>, server: Server, pace: Pace) -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        let known = Arc::<Known>::default();
        let name = server.name().to_owned();
        let clerk = Clerk::new(Arc::clone(&registry), name, pace, Arc::clone(&known));
        let clerk = tokio::spawn(clerk.work(inbox));
        Self(Arc::new(Inner { registry, server, pace, known, reports, clerk }))
    }

    /// This server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// Where everything is written down.
    #[must_use]
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.0.registry
    }

    /// The other server that has a session, if it lives for all that is known.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn who_has(&self, key: &Key) -> Result<Option<Who>, RegistryError> {
        let Some((tenure, now)) = self.0.registry.find(key).await? else { return Ok(None) };
        let server = &self.0.server;
        let holder = tenure.holder.as_deref().filter(|holder| *holder != server.name());
        let lives = |holder: &&str| tenure.lease_until >= now && !server.is_dead(holder);
        Ok(holder.filter(lives).map(Who::of))
    }

    /// Waits until all that was told is written.
    pub async fn settle(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.reports.send(Report::Settle(answer)).is_ok() {
            let _ = answered.await;
        }
    }

    /// Has the session made by `make`, unless somebody has it. Only one call of all processes makes
    /// it; the others wait for that.
    ///
    /// # Errors
    /// [`TenancyError`]; then `make` has not run, has failed, or what it made must be ended.
    pub async fn get_or_create(
        &self,
        key: &Key,
        make: impl AsyncFnOnce(Claimed) -> Result<Made, String>,
    ) -> Result<Got, TenancyError> {
        loop {
            let flight = match self.flight(key) {
                Ok(lands) => {
                    let _landing = Landing { tenancy: self, key };
                    let got = self.lead(key, make).await;
                    let shared = match &got {
                        Ok(Got::Won(held)) => Ok(Shared::Ours(held.as_tenure())),
                        Ok(Got::Ours(tenure)) => Ok(Shared::Ours(tenure.clone())),
                        Ok(Got::Theirs(tenure)) => Ok(Shared::Theirs(tenure.clone())),
                        Err(error) => Err(error.clone()),
                    };
                    lands.send_replace(Some(shared));
                    return got;
                }
                Err(flight) => flight,
            };
            let mut flight = flight;
            // Without a word: who asked gave up, and somebody else must.
            if let Ok(landed) = flight.wait_for(Option::is_some).await
                && let Some(landed) = landed.clone()
            {
                return landed.map(|shared| match shared {
                    Shared::Ours(tenure) => Got::Ours(tenure),
                    Shared::Theirs(tenure) => Got::Theirs(tenure),
                });
            }
        }
    }

    /// Whether this call asks; otherwise who does.
    fn flight(
        &self,
        key: &Key,
    ) -> Result<watch::Sender<Option<Landed>>, watch::Receiver<Option<Landed>>> {
        let mut sessions = self.0.known.sessions();
        let flight = sessions.flights.get(key);
        // One that has ended without a word stays until its landing is dropped.
        if let Some(flight) = flight.filter(|flight| flight.has_changed().is_ok()) {
            return Err(flight.clone());
        }
        let (lands, flight) = watch::channel(None);
        sessions.flights.insert(key.clone(), flight);
        Ok(lands)
    }

    async fn lead(
        &self,
        key: &Key,
        make: impl AsyncFnOnce(Claimed) -> Result<Made, String>,
    ) -> Result<Got, TenancyError> {
        let (pace, registry) = (self.0.pace, &self.0.registry);
        let mut changes = registry.changes().await.map_err(TenancyError::Registry)?;
        let mut dead = None;
        loop {
            // Before it is read: nothing that changes after that is missed.
            changes.mark_unchanged();
            let holder = self.0.server.name().to_owned();
            let terms = Terms { holder, lease: pace.lease, dead: dead.take() };
            let claimed = registry.claim(key, &terms).await.map_err(TenancyError::Registry)?;
            let (tenure, refused) = match claimed {
                Ok(tenure) => return self.make(key, tenure, make).await,
                Err(refused) => refused,
            };
            let wait = match refused {
                Refused::Held if tenure.holder.as_deref() == Some(&terms.holder) => {
                    if self.0.known.has(key, tenure.epoch) {
                        return Ok(Got::Ours(tenure));
                    }
                    // The answer to a claim was lost: who made it is gone, though this process lives.
                    dead = Some(terms.holder);
                    continue;
                }
                Refused::Held => {
                    let holder = tenure.holder.clone().unwrap_or_default();
                    if self.0.server.is_dead(&holder) {
                        dead = Some(holder);
                        continue;
                    }
                    if tenure.stage != Stage::Starting {
                        return Ok(Got::Theirs(tenure));
                    }
                    pace.looks
                }
                Refused::NotYet(millis) => Duration::from_millis(millis),
                Refused::Resting(millis) => {
                    let (why, attempts) = (tenure.error.unwrap_or_default(), tenure.attempts);
                    let wait = Duration::from_millis(millis);
                    return Err(TenancyError::Resting { why, attempts, wait });
                }
            };
            // A store that has closed changes no more: the next claim says so.
            let _ = tokio::time::timeout(wait, changes.changed()).await;
        }
    }

    async fn make(
        &self,
        key: &Key,
        tenure: Tenure,
        make: impl AsyncFnOnce(Claimed) -> Result<Made, String>,
    ) -> Result<Got, TenancyError> {
        let held = Held {
            key: key.clone(),
            epoch: tenure.epoch,
            attempts: tenure.attempts,
            reports: self.0.reports.clone(),
            lost: CancellationToken::new(),
        };
        self.0.known.sessions().held.insert(key.clone(), held.clone());
        let _ = self.0.reports.send(Report::Claimed);
        let mut undone = Undone(Some((held.clone(), &self.0.known)));
        let made = make(Claimed { held: held.clone(), tenure }).await;
        let (step, why) = match made {
            Ok(Made { place, generation }) => (Step::Ready { place, generation }, None),
            Err(why) => (Step::Failed(why.clone()), Some(why)),
        };
        let written = held.step(step).await;
        if let Some(why) = why {
            undone.0 = None;
            return Err(TenancyError::Failed(why));
        }
        if !written.map_err(TenancyError::Registry)? {
            return Err(TenancyError::Overtaken);
        }
        undone.0 = None;
        Ok(Got::Won(held))
    }
}

impl Held {
    /// What is known of what was just made.
    fn as_tenure(&self) -> Tenure {
        Tenure { stage: Stage::Idle, epoch: self.epoch, ..Tenure::default() }
    }
}

/// Ends a flight, however it ends.
struct Landing<'a> {
    tenancy: &'a Tenancy,
    key: &'a Key,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.tenancy.0.known.sessions().flights.remove(self.key);
    }
}
