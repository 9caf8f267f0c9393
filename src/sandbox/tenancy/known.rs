//! What this process knows of the sessions that it has, and of those that are asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Held, Landed};
use crate::sandbox::registry::Key;

/// What this process knows of its own. Held for look-ups only.
#[derive(Default)]
pub(super) struct Known(Mutex<Sessions>);

#[derive(Default)]
pub(super) struct Sessions {
    /// Who asks for a session now, and what comes of it.
    pub(super) flights: BTreeMap<Key, watch::Receiver<Option<Landed>>>,
    /// What it has.
    pub(super) held: BTreeMap<Key, Held>,
}

impl Known {
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has the session under the claim of that epoch.
    pub(super) fn has(&self, key: &Key, epoch: u64) -> bool {
        self.sessions().held.get(key).is_some_and(|held| held.epoch == epoch)
    }

    /// Whether it does not know of the claim that the store has written down: its answer was lost.
    pub(super) fn misses(&self, key: &Key, epoch: u64) -> bool {
        let sessions = self.sessions();
        let has = sessions.held.get(key).is_some_and(|held| held.epoch == epoch);
        !has && !sessions.flights.contains_key(key)
    }

    /// It has the session no more under that claim.
    pub(super) fn gives_back(&self, key: &Key, epoch: u64) {
        let mut sessions = self.sessions();
        if sessions.held.get(key).is_some_and(|held| held.epoch == epoch) {
            sessions.held.remove(key);
        }
    }
}
