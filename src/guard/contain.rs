//! The innermost layer: a caller who gives up ends the call, and a panic becomes an answer.
//!
//! rmcp only fires a token on cancellation and lets the handler run on; and it answers nothing at
//! all when a handler panics, so that the caller waits for ever. Here the token is raced against
//! the call, whose future is dropped, and panics are caught.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use super::{Answer, Answering, Guard, Tool, ToolCall};

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Contain;

impl Guard for Contain {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        let cancelled = call.cancelled.clone();
        let ready = inner.clone();
        let mut inner = std::mem::replace(inner, ready);
        Box::pin(async move {
            // The call is made inside, so that a panic before the first await is caught too.
            let answer = AssertUnwindSafe(async move { inner.call(call).await }).catch_unwind();
            tokio::select! {
                biased;
                () = cancelled.cancelled() => Ok(S::Response::cancelled()),
                result = answer => result.unwrap_or_else(|panic| {
                    let what = message(panic.as_ref());
                    tracing::error!(what, "a tool panicked");
                    Ok(S::Response::panicked(what))
                }),
            }
        })
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use tower::{Layer, ServiceExt};

    use crate::guard::{
        GuardLayer,
        test_support::{Said, call},
    };

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_answer() {
        let panics = tower::service_fn(|_: ToolCall<()>| -> std::future::Ready<Result<Said, ()>> {
            panic!("boom {}", 1)
        });
        let said = GuardLayer(Contain).layer(panics).oneshot(call("x")).await.unwrap();
        assert_eq!(said.text, "panicked: boom 1");
    }

    #[tokio::test]
    async fn giving_up_drops_the_call() {
        let (alive, dropped) = tokio::sync::oneshot::channel::<()>();
        let alive = std::sync::Arc::new(std::sync::Mutex::new(Some(alive)));
        let hangs = tower::service_fn(move |_: ToolCall<()>| {
            let alive = alive.lock().unwrap().take();
            async move {
                let _alive = alive;
                std::future::pending::<Result<Said, ()>>().await
            }
        });
        let call = call("x");
        let token = call.cancelled.clone();
        let answer = tokio::spawn(GuardLayer(Contain).layer(hangs).oneshot(call));
        token.cancel();
        assert_eq!(answer.await.unwrap().unwrap().text, "cancelled");
        assert!(dropped.await.is_err());
    }
}
