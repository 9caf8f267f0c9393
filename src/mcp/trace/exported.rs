//! A span's place in a trace that others see too (feature `otel`): below the caller's, beside the one of
//! its request of HTTP, above what the kernel does.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState as VendorState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::base::trace_context::TraceContext;

/// Puts the span where it belongs; the trace as it goes on from it.
pub(super) fn placed(
    span: &Span,
    said: Option<TraceContext>,
    around: Option<TraceContext>,
) -> Option<TraceContext> {
    if let (Some(_), Some(around)) = (&said, &around)
        && let Some(around) = remote(around)
    {
        span.add_link(around);
    }
    let above = said.or(around);
    if let Some(above) = above.as_ref().and_then(remote) {
        // Without an exporter there is no place to take.
        let _ = span.set_parent(Context::new().with_remote_span_context(above));
    }
    let context = span.context();
    let ours = context.span().span_context().clone();
    if !ours.is_valid() {
        return above;
    }
    let parent =
        format!("00-{}-{}-{:02x}", ours.trace_id(), ours.span_id(), ours.trace_flags().to_u8());
    match above {
        Some(above) => Some(above.below(&parent)),
        None => TraceContext::read([Some(&parent), None, None]),
    }
}

/// The caller's span, as OpenTelemetry has it.
fn remote(context: &TraceContext) -> Option<SpanContext> {
    let trace = TraceId::from_hex(context.trace_id()?).ok()?;
    let span = SpanId::from_hex(context.span_id()?).ok()?;
    let state = context.state().and_then(|state| state.parse::<VendorState>().ok());
    let flags = TraceFlags::new(context.flags());
    Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default()))
}
