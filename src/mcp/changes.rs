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
                let updated = match change {
                    Ok(Change::Notebook(session)) => Some(resources::notebook_uri(&session)),
                    Ok(Change::Sessions) | Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                };
                let wanted =
                    |uri| uris.lock().unwrap_or_else(PoisonError::into_inner).contains(uri);
                if updated.as_ref().is_some_and(|uri| !wanted(uri)) {
                    continue;
                }
                // One that does not read now may read later.
                if let Ok(Err(_gone)) = tokio::time::timeout(PATIENCE, tell(&peer, updated)).await {
                    return;
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
            // What was not asked for is refused by the sink, which is no fault.
            let _ = match change {
                Ok(Change::Notebook(session)) => {
                    sink.notify_resource_updated(resources::notebook_uri(&session)).await
                }
                Err(RecvError::Closed) => return,
                Ok(Change::Sessions) | Err(RecvError::Lagged(_)) => {
                    sink.notify_resource_list_changed().await
                }
            };
        }
    }
}

/// Tells that a resource was updated, or else that the list was.
async fn tell(peer: &Peer<RoleServer>, updated: Option<String>) -> Result<(), ServiceError> {
    match updated {
        Some(uri) => peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await,
        None => peer.notify_resource_list_changed().await,
    }
}
