//! The outermost layer: one span a call, and its entry in the meter.
//!
//! It changes nothing. Arguments and answers are not logged: they are the user's.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

use super::{Answer, Answering, Kind, ToolCall, usage::Meter};

/// Puts [`Trace`] around a service.
#[derive(Debug, Clone)]
pub struct TraceLayer {
    meter: Arc<Meter>,
}

impl TraceLayer {
    /// A layer that enters calls into `meter`.
    #[must_use]
    pub fn new(meter: Arc<Meter>) -> Self {
        Self { meter }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, meter: Arc::clone(&self.meter) }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S, P> Service<ToolCall<P>> for Trace<S>
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
        let (tool, cost) = (call.tool, call.cost);
        let span = tracing::info_span!("tool_call", tool);
        let meter = Arc::clone(&self.meter);
        let begun = Instant::now();
        let answer = self.inner.call(call);
        let traced = async move {
            let result = answer.await;
            let answer = result.as_ref().ok();
            let fault = answer.is_none_or(|answer| answer.kind() == Kind::Fault);
            let tokens = cost + answer.map_or(0, Answer::cost);
            meter.record(tool, tokens, fault, Instant::now());
            tracing::debug!(ms = begun.elapsed().as_millis(), fault, tokens, "answered");
            result
        };
        Box::pin(traced.instrument(span))
    }
}
