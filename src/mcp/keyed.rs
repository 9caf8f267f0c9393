//! No call with an idempotency key runs on two servers side by side: a session has one server at a time,
//! but a call that was sent to one may be sent again to the next one that has its session.
//!
//! Within a server [`crate::guard::dedup::once`] sees to it. Here the key is claimed for all servers before
//! the cell is queued, and the cell's end is told when it is over, whether or not anybody waits for it.

use std::sync::Arc;

use rmcp::model::ContentBlock;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Call, Context, reply::Reply};
use crate::{
    base::ids::SessionName,
    guard::{
        Denial, Who,
        shared::{
            Shared,
            counter::{End, Key, Known},
        },
    },
    sandbox::{CellRun, Phase, SandboxError},
};

/// A key that is this call's for all servers.
pub(super) struct Keyed {
    shared: Arc<Shared>,
    key: Key,
}

/// Where the answer of the call goes.
pub(super) type Answered = oneshot::Sender<String>;

impl Keyed {
    /// Claims the call's key, where it has one and servers share their keys.
    ///
    /// # Errors
    /// The answer to a call that another server has had.
    pub(super) async fn claim(
        context: &Context,
        call: &Call,
        session: &SessionName,
    ) -> Result<Option<Self>, Box<Reply>> {
        let (Some(shared), Some(digest)) = (&context.guards.shared, &call.identity.key) else {
            return Ok(None);
        };
        if call.twin.is_some() || call.resumed.is_some() {
            return Ok(None);
        }
        let who =
            Who { principal: Arc::clone(&context.principal), session: session.as_str().into() };
        let key = Key::of(&who, digest, call.identity.signature, shared.server());
        match shared.claim(&key).await {
            Ok(Known::New) => Ok(Some(Self { shared: Arc::clone(shared), key })),
            Ok(Known::Reused) => {
                let session = session.clone();
                Err(Box::new(Reply::no_sandbox(&SandboxError::KeyReused { session })))
            }
            Ok(Known::Begun { server }) => Err(Box::new(Reply::denied(under_way(&server)))),
            Ok(Known::Over { server, answer }) => {
                let reply =
                    Reply::kept(&answer).unwrap_or_else(|| Reply::denied(under_way(&server)));
                Err(Box::new(reply.shared()))
            }
            Err(denial) => Err(Box::new(Reply::denied(denial))),
        }
    }

    /// The call came to no cell.
    pub(super) fn never_began(self) {
        self.tells(async { End::NeverBegan });
    }

    /// The call has that cell: its end is told, with the answer if one is given in time.
    pub(super) fn follows(self, run: &Arc<CellRun>, remembered: std::time::Duration) -> Answered {
        let (answered, answer) = oneshot::channel();
        let run = Arc::clone(run);
        self.tells(async move {
            let phase = run.over().await;
            if CellRun::not_run(&phase).is_some() {
                return End::NeverBegan;
            }
            // Nobody answers where the call is given up, or was answered before.
            let answer = answer.await.ok();
            End::Over(answer.unwrap_or_else(|| ended(&run, &phase)), remembered)
        });
        answered
    }

    /// Tells the end in the background: it outlives the call.
    fn tells(self, end: impl Future<Output = End> + Send + 'static) {
        let Self { shared, key } = self;
        let tasks = shared.tasks().clone();
        tasks.spawn(async move { shared.close(&key, &end.await).await });
    }
}

/// What is told of a call whose answer was not whole: that its cell is over, and how it ended.
fn ended(run: &CellRun, phase: &Phase) -> String {
    let status = match phase {
        Phase::Over(outcome) => super::reply::cell::status(outcome.status),
        _ => "unseen".into(),
    };
    let told = format!(
        "[cell {} of session {} has ended with status {status}; what it put out was told to who waited for \
         it, and is in the session's notebook]",
        run.id(),
        run.session
    );
    Reply::keeps(
        &[ContentBlock::text(told)],
        &json!({
            "session": run.session.to_string(), "cell": run.id(), "status": status, "error": null,
        }),
        status != "ok",
    )
}

/// What is said of a call that another server has begun.
fn under_way(server: &str) -> Denial {
    let server = server.split_once('#').map_or(server, |(words, _)| words);
    Denial {
        by: "dedup",
        code: "key_under_way",
        reason: format!(
            "a call with this idempotency key was begun by another server ({server}), which has not told \
             its end: it goes on there, or that server has ended and nobody knows how far it came; it was \
             not run again"
        ),
        retry_after_s: None,
        hint: Some(
            "look whether what it does is done; if it has to run again, send it with another key"
                .into(),
        ),
    }
}
