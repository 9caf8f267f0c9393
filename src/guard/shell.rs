//! The shell of every layer: a tower layer and service around what a [`Guard`] does.
//!
//! Guards decide when a call comes, so readiness is that of the tool.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{Answer, Answering, ToolCall};

/// A tool, or what stands between a guard and the tool.
pub trait Tool<P>:
    Service<ToolCall<P>, Response: Answer, Error: Send + 'static, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S, P> Tool<P> for S where
    S: Service<ToolCall<P>, Response: Answer, Error: Send + 'static, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// What one layer does around a call.
pub trait Guard {
    /// Answers the call itself, or lets `inner` do so, which is ready.
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static;
}

/// Puts a guard around a service.
#[derive(Debug, Clone)]
pub struct GuardLayer<G>(pub G);

impl<G: Clone, S> Layer<S> for GuardLayer<G> {
    type Service = Guarded<G, S>;

    fn layer(&self, inner: S) -> Guarded<G, S> {
        Guarded { guard: self.0.clone(), inner }
    }
}

/// A service behind a guard.
#[derive(Debug, Clone)]
pub struct Guarded<G, S> {
    pub(super) guard: G,
    inner: S,
}

impl<G, S, P> Service<ToolCall<P>> for Guarded<G, S>
where
    G: Guard,
    S: Tool<P>,
    P: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: ToolCall<P>) -> Self::Future {
        self.guard.call(call, &mut self.inner)
    }
}
