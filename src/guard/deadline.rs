//! The last bound on a call: when its deadline passes, it is answered, whatever hangs inside.
//!
//! Tools have their own, shorter timeouts and give better answers; this layer is for the case that
//! one of them fails to. The inner future is dropped, which cancels what it was doing.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Answer, Answering, ToolCall};

/// Puts [`Deadline`] around a service.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
}

impl<S, P> Service<ToolCall<P>> for Deadline<S>
where
    S: Service<ToolCall<P>>,
    S::Response: Answer,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: ToolCall<P>) -> Self::Future {
        let deadline = call.deadline;
        let answer = self.inner.call(call);
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

    use tower::ServiceExt;

    use crate::guard::test_support::{Said, call};

    use super::*;

    fn in_time() -> ToolCall<()> {
        ToolCall { deadline: Duration::from_secs(5), ..call("x") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_answered_at_its_deadline() {
        let hangs = tower::service_fn(|_: ToolCall<()>| std::future::pending::<Result<Said, ()>>());
        let begun = tokio::time::Instant::now();
        let said = DeadlineLayer.layer(hangs).oneshot(in_time()).await.unwrap();
        assert_eq!(said.text, "late after 5s");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_time_passes() {
        let quick = tower::service_fn(async |_: ToolCall<()>| Ok::<_, ()>(Said::done("done")));
        let said = DeadlineLayer.layer(quick).oneshot(in_time()).await.unwrap();
        assert_eq!(said.text, "done");
    }
}
