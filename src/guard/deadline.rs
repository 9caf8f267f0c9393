//! The last bound on a call: when its deadline passes, it is answered, whatever hangs inside.
//!
//! Tools have their own, shorter timeouts and give better answers; this layer is for the case that
//! one of them fails to. The inner future is dropped, which cancels what it was doing.

use super::{Answer, Answering, Guard, Tool, ToolCall};

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Deadline;

impl Guard for Deadline {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        let deadline = call.deadline;
        let answer = inner.call(call);
        Box::pin(async move {
            match tokio::time::timeout(deadline, answer).await {
                Ok(result) => result,
                Err(_elapsed) => Ok(S::Response::late(deadline)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::{Layer, ServiceExt};

    use crate::guard::{
        GuardLayer,
        test_support::{Said, call},
    };

    use super::*;

    fn in_time() -> ToolCall<()> {
        ToolCall { deadline: Duration::from_secs(5), ..call("x") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_answered_at_its_deadline() {
        let hangs = tower::service_fn(|_: ToolCall<()>| std::future::pending::<Result<Said, ()>>());
        let begun = tokio::time::Instant::now();
        let said = GuardLayer(Deadline).layer(hangs).oneshot(in_time()).await.unwrap();
        assert_eq!(said.text, "late after 5s");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_time_passes() {
        let quick = tower::service_fn(async |_: ToolCall<()>| Ok::<_, ()>(Said::done("done")));
        let said = GuardLayer(Deadline).layer(quick).oneshot(in_time()).await.unwrap();
        assert_eq!(said.text, "done");
    }
}
