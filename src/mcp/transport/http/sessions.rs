//! The MCP sessions of one user (of revisions that have sessions): rmcp's own, with a bound.
//!
//! rmcp keeps any number of them, each until it was silent for a while, also when a call is under way.
//! Here a session is in use as long as a stream of it is open; of more than a user may have, and after
//! a time, those end that are in no use. Kernels are no part of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::{
        common::server_side_http::ServerSseMessage,
        streamable_http_server::session::{
            SessionId, SessionManager,
            local::{LocalSessionManager, LocalSessionManagerError},
        },
    },
};
use tokio::time::Instant;

/// Why a session did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionsError {
    /// There are too many.
    #[error("{0} MCP sessions are in use, and there may be no more; end one (`http.max_sessions`)")]
    Full(usize),
    /// rmcp says.
    #[error(transparent)]
    Local(LocalSessionManagerError),
}

/// How a session is used.
#[derive(Debug, Clone, Copy)]
struct Use {
    last: Instant,
    streams: usize,
}

type Uses = Arc<Mutex<HashMap<SessionId, Use>>>;

/// See the module's documentation.
pub(super) struct Sessions {
    rmcp: LocalSessionManager,
    uses: Uses,
    most: usize,
}

/// A session is in use as long as this lives.
struct InUse {
    uses: Uses,
    id: SessionId,
}

impl InUse {
    fn begin(uses: &Uses, id: &SessionId) -> Self {
        changed(uses, id, |it| it.streams += 1);
        Self { uses: Arc::clone(uses), id: Arc::clone(id) }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        changed(&self.uses, &self.id, |it| it.streams = it.streams.saturating_sub(1));
    }
}

fn locked(uses: &Uses) -> MutexGuard<'_, HashMap<SessionId, Use>> {
    uses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something happens to a session.
fn changed(uses: &Uses, id: &SessionId, change: impl FnOnce(&mut Use)) {
    if let Some(found) = locked(uses).get_mut(id) {
        found.last = Instant::now();
        change(found);
    }
}

impl Sessions {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        let mut rmcp = LocalSessionManager::default();
        // It would end sessions in which a call is under way.
        rmcp.session_config.keep_alive = None;
        Self { rmcp, uses: Uses::default(), most }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        locked(&self.uses).len()
    }

    /// Ends those that were not used for so long.
    pub(super) async fn end_unused(&self, age: Duration) {
        for id in self.unused_for(age) {
            self.end(&id).await;
        }
    }

    fn unused_for(&self, age: Duration) -> Vec<SessionId> {
        let now = Instant::now();
        let old = |it: &Use| it.streams == 0 && now.saturating_duration_since(it.last) >= age;
        let all = locked(&self.uses);
        all.iter().filter(|(_, it)| old(it)).map(|(id, _)| Arc::clone(id)).collect()
    }

    /// The session unused for longest; none where all are in use.
    fn oldest(&self) -> Option<SessionId> {
        let all = locked(&self.uses);
        let unused = all.iter().filter(|(_, it)| it.streams == 0);
        unused.min_by_key(|(_, it)| it.last).map(|(id, _)| Arc::clone(id))
    }

    async fn end(&self, id: &SessionId) {
        if let Err(error) = self.close_session(id).await {
            tracing::debug!(%error, "an MCP session ended badly");
        }
    }

    /// Makes room for one more.
    async fn make_room(&self) -> Result<(), SessionsError> {
        while self.count() >= self.most {
            let oldest = self.oldest().ok_or(SessionsError::Full(self.most))?;
            self.end(&oldest).await;
        }
        Ok(())
    }
}

/// The stream, during which its session is in use.
fn used<S>(used: InUse, stream: S) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static
where
    S: Stream<Item = ServerSseMessage> + Send + Sync + 'static,
{
    stream.map(move |message| {
        let _ = &used;
        message
    })
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        self.make_room().await?;
        let (id, transport) = self.rmcp.create_session().await.map_err(SessionsError::Local)?;
        locked(&self.uses).insert(Arc::clone(&id), Use { last: Instant::now(), streams: 0 });
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        let _used = InUse::begin(&self.uses, id);
        self.rmcp.initialize_session(id, message).await.map_err(SessionsError::Local)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        self.rmcp.has_session(id).await.map_err(SessionsError::Local)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        locked(&self.uses).remove(id);
        self.rmcp.close_session(id).await.map_err(SessionsError::Local)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let begun = InUse::begin(&self.uses, id);
        let stream = self.rmcp.create_stream(id, message).await.map_err(SessionsError::Local)?;
        Ok(used(begun, stream))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        changed(&self.uses, id, |_| ());
        self.rmcp.accept_message(id, message).await.map_err(SessionsError::Local)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let begun = InUse::begin(&self.uses, id);
        let stream = self.rmcp.create_standalone_stream(id).await.map_err(SessionsError::Local)?;
        Ok(used(begun, stream))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        let begun = InUse::begin(&self.uses, id);
        let stream = self.rmcp.resume(id, last_event_id).await.map_err(SessionsError::Local)?;
        Ok(used(begun, stream))
    }
}
