//! Tells clients when a resource has changed: those of the handshake era that subscribed, and those
//! that listen.
//!
//! One [`Connection`] a client. Changes are told by [`crate::sandbox`]; a client that reads slowly is
//! told less often, never late for ever.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    ErrorData, Peer, RoleServer,
    model::ResourceUpdatedNotificationParam,
    service::{ServiceError, SubscriptionSink},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::resources;
use crate::sandbox::Change;

/// How long a client that does not read may take for one notification.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most subscriptions of one client.
const MOST: usize = 1000;

/// What is known of one client's subscriptions.
#[derive(Clone)]
pub(super) struct Connection {
    uris: Arc<Mutex<HashSet<String>>>,
    gone: CancellationToken,
    _guard: Arc<DropGuard>,
}

impl Connection {
    pub(super) fn new() -> Self {
        let gone = CancellationToken::new();
        let guard = Arc::new(gone.clone().drop_guard());
        Self { uris: Arc::default(), gone, _guard: guard }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        change(&mut self.uris.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn subscribe(&self, uri: String) -> Result<(), ErrorData> {
        self.with(|uris| {
            if uris.len() >= MOST || uri.len() > 1000 {
                let reason = format!("at most {MOST} subscriptions, of 1000 bytes each");
                return Err(ErrorData::invalid_params(reason, None));
            }
            uris.insert(uri);
            Ok(())
        })
    }

    pub(super) fn unsubscribe(&self, uri: &str) {
        self.with(|uris| uris.remove(uri));
    }

    /// Tells a client of the handshake era until it is gone. The task ends with the connection.
    pub(super) fn forward(&self, mut changes: Receiver<Change>, peer: Peer<RoleServer>) {
        let (uris, gone) = (Arc::clone(&self.uris), self.gone.clone());
        tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = gone.cancelled() => return,
                };
                let Some(told) = told(change) else { return };
                let wanted = |uri: &String| {
                    uris.lock().unwrap_or_else(PoisonError::into_inner).contains(uri)
                };
                for updated in told {
                    if updated.as_ref().is_some_and(|uri| !wanted(uri)) {
                        continue;
                    }
                    // One that does not read now may read later.
                    let told = tokio::time::timeout(PATIENCE, tell(&peer, updated)).await;
                    if let Ok(Err(_gone)) = told {
                        return;
                    }
                }
            }
        });
    }

    /// Tells a client that listens, until it stops.
    pub(super) async fn listen(
        &self,
        mut changes: Receiver<Change>,
        sink: SubscriptionSink,
        given_up: CancellationToken,
    ) {
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = given_up.cancelled() => return,
                () = self.gone.cancelled() => return,
            };
            let Some(told) = told(change) else { return };
            for updated in told {
                // What was not asked for is refused by the sink, which is no fault.
                let _ = match updated {
                    Some(uri) => sink.notify_resource_updated(uri).await,
                    None => sink.notify_resource_list_changed().await,
                };
            }
        }
    }
}

/// The resources that a change has changed; none of them for the list. Nothing once no more changes come.
fn told(change: Result<Change, RecvError>) -> Option<Vec<Option<String>>> {
    let of_all = || Some(resources::SESSIONS.to_owned());
    match change {
        Ok(Change::Notebook(session)) => Some(vec![Some(resources::notebook_uri(&session))]),
        Ok(Change::Cells(session)) => Some(vec![Some(resources::cells_uri(&session)), of_all()]),
        // Whoever missed some is to look at everything anew.
        Ok(Change::Sessions) | Err(RecvError::Lagged(_)) => Some(vec![None, of_all()]),
        Err(RecvError::Closed) => None,
    }
}

/// Tells that a resource was updated, or else that the list was.
async fn tell(peer: &Peer<RoleServer>, updated: Option<String>) -> Result<(), ServiceError> {
    match updated {
        Some(uri) => peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await,
        None => peer.notify_resource_list_changed().await,
    }
}
