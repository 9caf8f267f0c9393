//! Waits for a cell on behalf of a call, for as long as the call may take.
//!
//! The cell does not depend on it: when the time is over the answer says where the cell is, and the
//! cell goes on. Only callers who all give up their own cell stop it ([`crate::sandbox::Claim`]).

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleServer,
    model::{InputRequiredResult, InputResponses},
    service::RequestContext,
};
use tokio::time::Instant;

use super::{
    Context,
    ask::{self, Resumed, Way},
    progress::Progress,
    reply::Reply,
    task,
};
use crate::{
    guard::Denial,
    sandbox::{CellRun, MAX_TIMEOUT, Phase},
};

/// How long hosts that say nothing let a call take, with a margin: most cut at 60 s.
const MOST_HOSTS: Duration = Duration::from_secs(50);
/// The same for Claude Code.
const CLAUDE_CODE: Duration = Duration::from_secs(170);

/// How long a call waits when it does not say.
pub(super) fn default_wait(context: &Context, request: &RequestContext<RoleServer>) -> Duration {
    let by_client = || of_client(request.client_info().as_ref().map(|client| &*client.name));
    context.sandboxes.default_wait().unwrap_or_else(by_client)
}

/// How long a client of that name lets a call take.
fn of_client(name: Option<&str>) -> Duration {
    let name = name.unwrap_or_default().to_lowercase().replace(['-', '_', ' '], "");
    if name.contains("claudecode") { CLAUDE_CODE } else { MOST_HOSTS }
}

/// The longest that a call with these arguments waits. While a user is asked the call's time stands
/// still: then the longest timeout of a cell is the bound.
pub(super) fn longest_wait(
    context: &Context,
    arguments: &rmcp::model::JsonObject,
    way: Way,
) -> Duration {
    let asked = arguments.get("wait").and_then(serde_json::Value::as_f64);
    let wait = match asked {
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, MAX_TIMEOUT)),
        None => context.sandboxes.default_wait().unwrap_or(CLAUDE_CODE),
    };
    match way {
        Way::Request => wait + Duration::from_secs_f64(MAX_TIMEOUT),
        Way::None | Way::Rounds => wait,
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
    /// How often the call has come back with an answer of the user's.
    pub(super) rounds: u32,
    /// Whether a cell that goes on may become a task.
    pub(super) may_be_task: bool,
}

/// What ended the waiting.
enum Waited {
    /// The cell is over, or the time is.
    Done,
    /// The host has to ask the user, and call again.
    Asks(InputRequiredResult),
}

impl Attending {
    /// A call that has come back with an answer of the user's: it attends the cell that asked.
    pub(super) fn resumed(
        context: Arc<Context>,
        request: RequestContext<RoleServer>,
        (state, responses): (String, InputResponses),
        wait: Duration,
    ) -> Result<Self, Denial> {
        let Some(Resumed { run, rounds }) = context.pending.resume(&state, responses) else {
            return Err(Denial {
                by: "arguments",
                code: "unknown_request_state",
                reason: "no cell waits for this answer".to_owned(),
                retry_after_s: None,
                hint: Some("the code was not run again; ask with notebook_wait_cell".to_owned()),
            });
        };
        Ok(Self { context, request, run, wait, from: None, rounds, may_be_task: false })
    }

    /// Waits, telling progress, and answers.
    pub(super) async fn answer(self, progress: Option<Progress>) -> Reply {
        let (waited, streamed) = match progress {
            Some(progress) => progress.during(self.wait()).await,
            None => (self.wait().await, None),
        };
        if let Waited::Asks(question) = waited {
            return Reply::instead(question);
        }
        if self.may_be_task && !self.run.is_over() && task::wanted(&self.request) {
            return Reply::instead(task::created(&self.run));
        }
        let reply = Reply::cell(&self.context.sandboxes, &self.run, self.from).await;
        match streamed {
            Some(streamed) => reply.with_meta(super::progress::STREAM, streamed),
            None => reply,
        }
    }

    /// Until the cell is over, or the time is; what it asks meanwhile is asked. The time that the
    /// user takes does not count.
    async fn wait(&self) -> Waited {
        if self.wait.is_zero() {
            return Waited::Done;
        }
        let way = Way::of(&self.request);
        let mut end = Instant::now() + self.wait;
        let mut asked = 0;
        loop {
            let phase = tokio::select! {
                phase = self.run.turns(asked) => phase,
                () = tokio::time::sleep_until(end) => return Waited::Done,
            };
            let Phase::Running { question: Some((number, question)), .. } = phase else {
                return Waited::Done;
            };
            asked = number;
            match way {
                Way::None => {}
                Way::Rounds => {
                    let pending = &self.context.pending;
                    return match pending.ask(&self.run, number, question, self.rounds) {
                        Some(result) => Waited::Asks(result),
                        // It has asked too often for one call: the next one goes on.
                        None => Waited::Done,
                    };
                }
                Way::Request => {
                    let begun = Instant::now();
                    tokio::select! {
                        answer = ask::ask(&self.request.peer, &question) => {
                            ask::give(&self.run, number, answer);
                        }
                        // Another call has got the answer, or the cell was stopped.
                        () = self.run.asks_no_more(number) => {}
                    }
                    end += begun.elapsed();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_code_waits_longer_than_others() {
        for name in ["claude-code", "Claude Code", "claude-code-sdk"] {
            assert_eq!(of_client(Some(name)), CLAUDE_CODE, "{name}");
        }
        for name in [None, Some(""), Some("claude-ai"), Some("Visual Studio Code"), Some("cursor")]
        {
            assert_eq!(of_client(name), MOST_HOSTS, "{name:?}");
        }
    }
}
