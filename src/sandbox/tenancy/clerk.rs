//! The one task of a process that writes what happens to its sessions, in order, and renews them.
//!
//! What the store does not take because it cannot be reached is owed, and written before anything
//! else once it can.

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{Held, Known, Pace};
use crate::sandbox::{
    registry::{Key, Registry, RegistryError},
    state::tenure::Step,
};

/// What the clerk is told.
pub(super) enum Report {
    /// A claim was granted: there is something to renew.
    Claimed,
    Step {
        held: Held,
        step: Step,
        answer: Option<oneshot::Sender<Result<bool, RegistryError>>>,
    },
    /// Answered when everything before it is written, or owed.
    Settle(oneshot::Sender<()>),
}

pub(super) struct Clerk {
    registry: Arc<dyn Registry>,
    holder: String,
    pace: Pace,
    known: Arc<Known>,
    owed: VecDeque<(Held, Step)>,
    /// Whether the last write failed: it is said once.
    failing: bool,
}

impl Clerk {
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        holder: String,
        pace: Pace,
        known: Arc<Known>,
    ) -> Self {
        Self { registry, holder, pace, known, owed: VecDeque::new(), failing: false }
    }

    pub(super) async fn work(mut self, mut inbox: mpsc::UnboundedReceiver<Report>) {
        let mut renewals = interval(self.pace.renewals);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = self.owed.is_empty() && self.known.sessions().held.is_empty();
            tokio::select! {
                report = inbox.recv() => match report {
                    Some(report) => self.take(report).await,
                    None => return,
                },
                _ = renewals.tick(), if !idle => {
                    if self.pay().await.is_ok() {
                        self.renew().await;
                    }
                    // However long that took: what comes in has its turn between two of them.
                    renewals.reset();
                }
            }
        }
    }

    async fn take(&mut self, report: Report) {
        match report {
            Report::Claimed => {}
            Report::Step { held, step, answer: None } => self.told(held, step).await,
            Report::Step { held, step, answer: Some(answer) } => {
                let written = self.asked(held, step).await;
                // Whoever gave up does not read it.
                let _ = answer.send(written);
            }
            // Whoever gave up does not read it.
            Report::Settle(answer) => drop(answer.send(())),
        }
    }

    /// Nobody waits for that: where the store fails, it is for later.
    async fn told(&mut self, held: Held, step: Step) {
        self.ends(&held, &step);
        if !self.owed.is_empty() {
            return self.owe(held, step);
        }
        let written = self.write(&held, &step).await;
        if written.is_err_and(|error| error.passes) {
            self.owe(held, step);
        }
    }

    /// Somebody waits for that, and is told when the store fails.
    async fn asked(&mut self, held: Held, step: Step) -> Result<bool, RegistryError> {
        let goes = self.ends(&held, &step);
        let written = match self.pay().await {
            Ok(()) => self.write(&held, &step).await,
            Err(error) => Err(error),
        };
        if goes && written.as_ref().is_err_and(|error| error.passes) {
            self.owe(held, step);
        }
        written
    }

    /// Whether the session is had no more with that step.
    fn ends(&self, held: &Held, step: &Step) -> bool {
        let goes = matches!(step, Step::Failed(_) | Step::Left | Step::Off);
        if goes {
            self.known.gives_back(&held.key, held.epoch);
        }
        goes
    }

    async fn write(&mut self, held: &Held, step: &Step) -> Result<bool, RegistryError> {
        let (key, epoch) = (&held.key, held.epoch);
        let written = self.registry.step(key, &self.holder, epoch, held.attempts, step).await;
        self.note(written.as_ref().err());
        if matches!(written, Ok(false)) && self.known.has(key, epoch) {
            // Taken over; or an earlier report was not written, or was though its answer was lost.
            self.renew().await;
        }
        written
    }

    fn owe(&mut self, held: Held, step: Step) {
        if matches!(step, Step::CellBegan(_)) {
            self.settle_cell(&held.key);
        }
        self.owed.push_back((held, step));
    }

    /// A cell that has begun and ended since changes nothing but the number of the last one.
    fn settle_cell(&mut self, key: &Key) {
        let of_key = self.owed.iter().enumerate().rev().filter(|(_, (held, _))| held.key == *key);
        let last: Vec<_> = of_key.take(2).map(|(at, (_, step))| (at, step)).collect();
        if let [(ended, Step::CellEnded), (began, Step::CellBegan(_))] = last[..] {
            self.owed.remove(ended);
            self.owed.remove(began);
        }
    }

    /// Writes what is owed, in its order; what the store refuses for good is forgotten.
    async fn pay(&mut self) -> Result<(), RegistryError> {
        while let Some((held, step)) = self.owed.front().cloned() {
            match self.write(&held, &step).await {
                Err(error) if error.passes => return Err(error),
                Ok(_) | Err(_) => drop(self.owed.pop_front()),
            }
        }
        Ok(())
    }

    async fn renew(&mut self) {
        // What is claimed meanwhile need not be in the answer.
        let before: Vec<Held> = self.known.sessions().held.values().cloned().collect();
        let renewed = self.registry.renew(&self.holder, self.pace.lease).await;
        self.note(renewed.as_ref().err());
        let Ok(renewed) = renewed else { return };
        for Held { key, epoch, lost, .. } in before {
            if !renewed.contains(&(key.clone(), epoch)) && self.known.has(&key, epoch) {
                tracing::warn!(session = %key, "another process has taken the session over");
                self.known.gives_back(&key, epoch);
                lost.cancel();
            }
        }
        self.give_back(renewed).await;
    }

    /// What the store says this process has and it does not know of: the answer to a claim was lost.
    async fn give_back(&mut self, renewed: Vec<(Key, u64)>) {
        for (key, epoch) in renewed {
            if self.known.misses(&key, epoch) {
                let step =
                    async |step| self.registry.step(&key, &self.holder, epoch, 0, &step).await;
                let back = match step(Step::Left).await {
                    Ok(false) => step(Step::Off).await,
                    left => left,
                };
                self.note(back.as_ref().err());
            }
        }
    }

    fn note(&mut self, error: Option<&RegistryError>) {
        match (error, self.failing) {
            (Some(error), false) => tracing::warn!(
                error = error as &dyn std::error::Error,
                "what happens to sessions is not written down"
            ),
            (None, true) => tracing::info!("what happens to sessions is written down again"),
            _ => {}
        }
        self.failing = error.is_some();
    }
}
