//! Waits for a cell on behalf of a call, for as long as the call may take.
//!
//! The cell does not depend on it: when the time is over the answer says where the cell is, and the
//! cell goes on. Only a caller who gives up its own cell stops it ([`Begun`]).

use std::{sync::Arc, time::Duration};

use rmcp::{RoleServer, service::RequestContext};
use tokio::time::Instant;

use super::{Context, progress::Progress, reply::Reply};
use crate::sandbox::{CellRun, MAX_TIMEOUT, Stop};

/// How long hosts that say nothing let a call take, with a margin: most cut at 60 s.
const MOST_HOSTS: Duration = Duration::from_secs(50);
/// The same for Claude Code.
const CLAUDE_CODE: Duration = Duration::from_secs(170);

/// A cell that this call has begun: stopped when the call is dropped before it is kept.
pub(super) struct Begun(Option<Arc<CellRun>>);

impl Begun {
    pub(super) fn new(run: &Arc<CellRun>) -> Self {
        Self(Some(Arc::clone(run)))
    }

    /// The cell goes on without the call.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(run) = &self.0 {
            run.stop(Stop::Cancelled);
        }
    }
}

/// How long a call waits when it does not say.
pub(super) fn default_wait(context: &Context, request: &RequestContext<RoleServer>) -> Duration {
    context.sandboxes.default_wait().unwrap_or_else(|| {
        let client = request.client_info().map(|client| client.name.to_lowercase());
        match client {
            Some(name) if name.contains("claude-code") || name.contains("claude code") => {
                CLAUDE_CODE
            }
            _ => MOST_HOSTS,
        }
    })
}

/// The longest that a call with these arguments waits.
pub(super) fn longest_wait(context: &Context, arguments: &rmcp::model::JsonObject) -> Duration {
    let asked = arguments.get("wait").and_then(serde_json::Value::as_f64);
    match asked {
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, MAX_TIMEOUT)),
        None => context.sandboxes.default_wait().unwrap_or(CLAUDE_CODE),
    }
}

/// A call that waits for a cell.
pub(super) struct Attending {
    pub(super) context: Arc<Context>,
    pub(super) request: RequestContext<RoleServer>,
    pub(super) run: Arc<CellRun>,
    pub(super) wait: Duration,
    /// The offset of the output from which the answer shows it; otherwise what is new.
    pub(super) from: Option<u64>,
}

impl Attending {
    /// Waits, telling progress, and answers.
    pub(super) async fn answer(self, progress: Option<Progress>) -> Reply {
        let wait = self.wait();
        let streamed = match progress {
            Some(progress) => progress.during(wait).await,
            None => {
                wait.await;
                None
            }
        };
        let reply = Reply::cell(&self.context.sandboxes, &self.run, self.from).await;
        match streamed {
            Some(streamed) => reply.with_meta(super::progress::STREAM, streamed),
            None => reply,
        }
    }

    /// Until the cell is over, or the time is.
    async fn wait(&self) {
        let end = Instant::now() + self.wait;
        tokio::select! {
            _ = self.run.over() => {}
            () = tokio::time::sleep_until(end) => {}
        }
    }
}
