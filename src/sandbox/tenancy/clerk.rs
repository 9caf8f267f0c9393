//! The one task of a process that writes what happens to its sessions, in order, and renews them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{Held, Pace};
use crate::sandbox::{
    registry::{Key, Registry, RegistryError},
    state::tenure::Step,
};

/// What the clerk is told.
pub(super) enum Report {
    /// A claim was granted.
    Claimed(Held),
    Step {
        held: Held,
        step: Step,
        answer: Option<oneshot::Sender<Result<bool, RegistryError>>>,
    },
    /// Answered when everything before it is written.
    Settle(oneshot::Sender<()>),
}

pub(super) struct Clerk {
    registry: Arc<dyn Registry>,
    holder: String,
    pace: Pace,
    held: BTreeMap<Key, Held>,
    /// Whether the last write failed: it is said once.
    failing: bool,
}

impl Clerk {
    pub(super) fn new(registry: Arc<dyn Registry>, holder: String, pace: Pace) -> Self {
        Self { registry, holder, pace, held: BTreeMap::new(), failing: false }
    }

    pub(super) async fn work(mut self, mut inbox: mpsc::UnboundedReceiver<Report>) {
        let mut renewals = interval(self.pace.renewals);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = inbox.recv() => match report {
                    Some(report) => self.take(report).await,
                    None => return,
                },
                _ = renewals.tick(), if !self.held.is_empty() => self.renew().await,
            }
        }
    }

    async fn take(&mut self, report: Report) {
        match report {
            Report::Claimed(held) => {
                self.held.insert(held.key.clone(), held);
            }
            Report::Step { held, step, answer } => {
                let written = self.write(&held, step).await;
                if let Some(answer) = answer {
                    // Whoever gave up does not read it.
                    let _ = answer.send(written);
                }
            }
            // Whoever gave up does not read it.
            Report::Settle(answer) => drop(answer.send(())),
        }
    }

    async fn write(&mut self, held: &Held, step: Step) -> Result<bool, RegistryError> {
        let (key, epoch) = (&held.key, held.epoch);
        let written = self.registry.step(key, &self.holder, epoch, held.attempts, &step).await;
        let goes = matches!(step, Step::Failed(_) | Step::Left | Step::Off);
        if goes && self.held.get(key).is_some_and(|known| known.epoch == epoch) {
            self.held.remove(key);
        }
        self.note(written.as_ref().err());
        if matches!(written, Ok(false)) && !goes {
            // Taken over; or an earlier report was not written.
            self.renew().await;
        }
        written
    }

    async fn renew(&mut self) {
        let renewed = self.registry.renew(&self.holder, self.pace.lease).await;
        self.note(renewed.as_ref().err());
        let Ok(renewed) = renewed else { return };
        self.held.retain(|key, held| {
            let has = renewed.iter().any(|(one, epoch)| one == key && *epoch == held.epoch);
            if !has {
                tracing::warn!(session = %key, "another process has taken the session over");
                held.lost.cancel();
            }
            has
        });
    }

    fn note(&mut self, error: Option<&RegistryError>) {
        if let (Some(error), false) = (error, self.failing) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "what happens to sessions is not written down"
            );
        }
        self.failing = error.is_some();
    }
}
