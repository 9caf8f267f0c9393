//! Hears what a server tells while it is not being answered: how far its calls are, and that its
//! tools have changed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rmcp::{
    ClientHandler, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, Implementation, ProgressNotificationParam, ProgressToken,
    },
    service::NotificationContext,
};

use super::Progress;

/// What one connection hears.
#[derive(Clone, Default)]
pub(super) struct Handler(Arc<Inner>);

#[derive(Default)]
struct Inner {
    calls: Mutex<HashMap<ProgressToken, Progress>>,
    changed: AtomicBool,
}

/// A call that is listened to; no longer once this is dropped.
pub(super) struct Heard {
    handler: Handler,
    token: ProgressToken,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.handler.calls().remove(&self.token);
    }
}

impl Handler {
    fn calls(&self) -> MutexGuard<'_, HashMap<ProgressToken, Progress>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, token: ProgressToken, progress: Progress) -> Heard {
        self.calls().insert(token.clone(), progress);
        Heard { handler: self.clone(), token }
    }

    pub(super) fn take_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::Relaxed)
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        // It asks no user on a server's behalf: a server that would is told so by what is not here.
        let me = Implementation::new("husk-agent", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), me)
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let progress = self.calls().get(&params.progress_token).cloned();
        if let (Some(progress), Some(message)) = (progress, params.message) {
            progress(&message);
        }
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.0.changed.store(true, Ordering::Relaxed);
    }
}
