//! Hears what a server tells while it is not being answered: how far its calls are, that its tools have
//! changed, and what it asks of the user.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationCapability, FormElicitationCapability, Implementation,
        ProgressNotificationParam, ProgressToken,
    },
    service::{NotificationContext, RequestContext},
};

use super::Progress;
use crate::agent::elicit::{Elicit, Question, Reply};

/// What one server tells.
#[derive(Clone)]
pub(super) struct Handler(Arc<Inner>);

struct Inner {
    server: String,
    /// Who answers what it asks.
    user: Option<Arc<dyn Elicit>>,
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
    pub(super) fn new(server: &str, user: Option<Arc<dyn Elicit>>) -> Self {
        let (calls, changed) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { server: server.to_owned(), user, calls, changed }))
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<ProgressToken, Progress>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, token: ProgressToken, progress: Progress) -> Heard {
        self.calls().insert(token.clone(), progress);
        Heard { handler: self.clone(), token }
    }

    /// Its tools may be others now.
    pub(super) fn set_changed(&self) {
        self.0.changed.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::Relaxed)
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        // Where nobody can be asked, a server that would is told so by what is not here.
        let forms = ElicitationCapability::new().with_form(FormElicitationCapability::default());
        let mut able = ClientCapabilities::default();
        able.elicitation = self.0.user.is_some().then_some(forms);
        let me = Implementation::new("husk-agent", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(able, me)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let (
            Some(user),
            ElicitRequestParams::FormElicitationParams { message, requested_schema, .. },
        ) = (&self.0.user, request)
        else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let question = Question::new(&self.0.server, message, &requested_schema);
        let reply = tokio::select! {
            reply = user.ask(&question) => reply,
            () = context.ct.cancelled() => Reply::Cancel,
        };
        Ok(match reply {
            Reply::Accept(values) => {
                ElicitResult::new(ElicitationAction::Accept).with_content(values.into())
            }
            Reply::Decline => ElicitResult::new(ElicitationAction::Decline),
            Reply::Cancel => ElicitResult::new(ElicitationAction::Cancel),
        })
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
        self.set_changed();
    }
}
